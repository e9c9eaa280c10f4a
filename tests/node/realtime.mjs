// OpenAI's SDK for Node on a Realtime socket: one turn by voice activity, one event that makes no sense.
// Arguments: the major version of the SDK, the base URL, a file with PCM at 24 kHz. Prints what it saw as JSON.
import { readFileSync } from 'node:fs';

const [version, baseURL, path] = process.argv.slice(2);
const sdk = version === '6' ? 'openai' : 'openai-7';
const { default: OpenAI } = await import(sdk);
const { OpenAIRealtimeWS } = await import(`${sdk}/realtime/ws`);

const seen = { events: [], errors: [], deltas: '', transcript: '', binary: 0 };
const client = new OpenAI({ apiKey: 'any', baseURL });
// Version 6 can only name a model; the first update then asks for a transcription.
const socket = new OpenAIRealtimeWS(version === '6' ? { model: 'whisper-1' } : { intent: 'transcription' }, client);

const finished = () => seen.transcript && seen.errors.length;
const finish = () => {
  if (!finished()) return;
  console.log(JSON.stringify(seen));
  socket.close();
};

socket.socket.on('message', (data, isBinary) => (seen.binary += isBinary ? 1 : 0));
socket.on('event', (event) => seen.events.push(event.type));
socket.on('error', (error) => {
  seen.errors.push(error.error?.code ?? String(error));
  finish();
});
socket.on('conversation.item.input_audio_transcription.delta', (event) => (seen.deltas += event.delta));
socket.on('conversation.item.input_audio_transcription.completed', (event) => {
  seen.transcript = event.transcript;
  finish();
});
socket.on('session.updated', () => {
  socket.send({ type: 'input_audio_buffer.append', audio: readFileSync(path).toString('base64') });
  socket.send({ type: 'nope' });
});
socket.socket.on('open', () =>
  socket.send({
    type: 'session.update',
    session: {
      type: 'transcription',
      audio: {
        input: {
          transcription: { model: 'whisper-1', language: 'en' },
          turn_detection: { type: 'server_vad', silence_duration_ms: 500 },
        },
      },
    },
  }),
);
