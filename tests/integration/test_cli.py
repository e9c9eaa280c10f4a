"""``kikitori transcribe`` as people run it: real recordings, pipes, a terminal, Ctrl-C.

What is about processes runs in one of its own. The others run in this one: to start another takes longer than they do.
"""

from __future__ import annotations

import io
import json
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from tests.log_state import log_as_before
from typer.testing import CliRunner

from kikitori.cli.root import app

Samples = Mapping[str, Any]
PATIENCE_SECONDS = 300.0
"""A process that shows something for so long without ending hangs."""


class Kikitori:
    """Runs the command with the mini model in an empty folder."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.arguments = ["transcribe", "--model", str(model), "--cpu-threads", "1"]
        self.command = [sys.executable, "-m", "kikitori", *self.arguments]
        self.environment = {**os.environ, "KIKITORI_DATA_DIR": str(folder / "data")}
        del self.environment["PYTHONASYNCIODEBUG"]  # it logs what takes long on a busy machine

    def here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As ``run``, in this process."""
        return self.invoke(*self.arguments, *arguments)

    def invoke(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any command, in this process."""
        with chdir(self.folder), log_as_before(), pytest.MonkeyPatch.context() as patch:
            patch.delenv("PYTHONASYNCIODEBUG")
            patch.setenv("KIKITORI_DATA_DIR", self.environment["KIKITORI_DATA_DIR"])
            done = CliRunner().invoke(app, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert "Traceback" not in done.stderr, done.stderr
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *arguments], input=stdin, capture_output=True, cwd=self.folder, env=self.environment
        )
        out, errors = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in errors, errors
        return subprocess.CompletedProcess(done.args, done.returncode, out, errors)


@pytest.fixture
def kikitori(tmp_path: Path, mini_model: Path) -> Kikitori:
    return Kikitori(tmp_path, mini_model)


@pytest.fixture
def media(tmp_path: Path, samples: Samples) -> Path:
    """A folder with good recordings, a bad one and other things."""
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(samples["en_01"].path, folder / "b.wav")
    shutil.copy(samples["ja_01"].path, folder / "deep" / "a.wav")
    (folder / "bad.mp3").write_text("this is a letter, not music")
    (folder / "notes.txt").write_text("not media")
    return folder


def test_text_goes_to_stdout_and_all_else_to_stderr(kikitori: Kikitori, samples: Samples) -> None:
    done = kikitori.run(str(samples["en_01"].path))
    assert (done.returncode, done.stdout) == (0, f"{samples['en_01'].text}\n")
    assert re.search(r"en_01\.wav: done, 0:02 of audio in .*× real time\), model, en", done.stderr)


def test_the_answer_is_what_the_library_hears(kikitori: Kikitori, samples: Samples, mini_model: Path) -> None:
    from faster_whisper import WhisperModel

    sample = samples["ko_04"]
    library = WhisperModel(str(mini_model), device="cpu", compute_type="default", cpu_threads=1)
    heard, _ = library.transcribe(str(sample.path), language="ko", beam_size=3, temperature=0.0)
    done = kikitori.here(str(sample.path), "-l", "korean", "--beam-size", "3", "--temperature", "0", "-f", "json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert [(each["text"], each["tokens"]) for each in answer["segments"]] == [(s.text, s.tokens) for s in heard]
    assert (answer["language"], answer["engine"], answer["mode"]) == ("ko", "whisper", "windowed")


def test_folders_patterns_and_a_bad_file_among_good_ones(kikitori: Kikitori, media: Path, samples: Samples) -> None:
    done = kikitori.here("media/deep", "media/*.mp3", "none.wav", "media/b.wav", "-j", "1")
    assert done.returncode == 1
    assert done.stdout == (
        f"==> media/deep/a.wav <==\n{samples['ja_01'].text}\n\n==> media/b.wav <==\n{samples['en_01'].text}\n"
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("kikitori: ")]
    assert errors[0] == "kikitori: none.wav: There is no such file."
    assert errors[1].startswith("kikitori: media/bad.mp3: ")
    assert len(errors) == 2
    assert "3 recordings: " in done.stderr
    assert "1 failed" in done.stderr


def test_files_are_written_for_each_recording_and_format(kikitori: Kikitori, media: Path, samples: Samples) -> None:
    shutil.copy(samples["en_02"].path, media / "deep" / "b.wav")
    done = kikitori.here("media", "-f", "txt,srt", "-f", "json", "-o", "out", "--word-timestamps")
    assert (done.returncode, done.stdout) == (1, "")
    out = kikitori.folder / "out"
    names = [f"{name}.{suffix}" for name in ("a", "b.wav", "b.wav-2") for suffix in ("json", "srt", "txt")]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert (out / "a.txt").read_text("utf-8") == f"{samples['ja_01'].text}\n"
    assert json.loads((out / "a.json").read_text("utf-8"))["segments"][0]["words"]
    assert (out / "b.wav.srt").read_text("utf-8").startswith("1\n00:00:0")


def test_subtitles_follow_the_layout(kikitori: Kikitori, samples: Samples) -> None:
    done = kikitori.here(
        str(samples["en_multi_40s"].path), "-f", "vtt", "--max-line-width", "16", "--max-lines", "1", "-q"
    )
    lines = [line for line in done.stdout.splitlines()[1:] if line and "-->" not in line]
    assert done.returncode == 0
    assert len(lines) > 20
    assert all(len(line) <= 16 for line in lines)


def test_audio_comes_through_a_pipe(kikitori: Kikitori, samples: Samples) -> None:
    done = kikitori.run("-", "-o", ".", "-f", "txt", stdin=samples["ja_02"].path.read_bytes())
    assert (done.returncode, done.stdout) == (0, "")
    assert (kikitori.folder / "stdin.txt").read_text("utf-8") == f"{samples['ja_02'].text}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("x.wav", "--beam-size", "0"), 2, "--beam-size is '0'. Allowed: a whole number, 1 to 50."),
        (("x.wav", "--mode", "windowed", "--condition-on-previous-text"), 2, "condition_on_previous_text is set"),
        (("x.wav", "-f", "odt"), 2, "--format is 'odt'"),
        (("x.wav", "--max-lines", "9"), 2, "--max-lines is '9'"),
        (("x.wav", "--jobs", "0"), 2, "--jobs"),
        (("x.wav", "--device", "tpu"), 2, "--device"),
        (("x.wav", "--url", "ftp://host"), 2, "--url is 'ftp://host'"),
        (("--quiet",), 2, "FILE"),
        (("media", "--model", "nonesuch"), 3, "nonesuch"),
        (("media", "--model", "small", "--offline"), 3, "kikitori models pull small"),
        (("media", "--url", "127.0.0.1:9"), 3, "http://127.0.0.1:9/ does not answer"),
        (("media/bad.mp3",), 1, "media/bad.mp3: "),
        (("media/bad.mp3", "none.wav"), 1, "none.wav: There is no such file."),
    ],
)
def test_what_goes_wrong_is_a_line_and_a_code(
    kikitori: Kikitori, media: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    shutil.copy(media / "b.wav", kikitori.folder / "x.wav")
    done = kikitori.here(*arguments)
    assert words in done.stderr
    assert (done.returncode, done.stdout) == (code, "")


def test_a_reader_that_goes_away_ends_it_quietly(kikitori: Kikitori, media: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*kikitori.command, "media/b.wav"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            cwd=kikitori.folder,
            env=kikitori.environment,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_without_a_whisper_model_the_embedded_engine_hears(tmp_path: Path, hello_wav: Path) -> None:
    kikitori = Kikitori(tmp_path, Path("auto"))
    done = kikitori.run(str(hello_wav))
    assert (done.returncode, done.stdout) == (0, "hello and welcome\n")
    assert "PocketSphinx is used instead" in done.stderr
    assert "kikitori models pull base" in done.stderr
    refused = kikitori.here(str(hello_wav), str(hello_wav.parent), "--task", "translate", "--offline")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1].endswith("Engines that can: whisper, openai, openai_whisper.")


@pytest.fixture(scope="module")
def server(mini_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of ``kikitori serve``."""
    command = [
        sys.executable,
        "-m",
        "kikitori",
        "serve",
        "--port",
        "0",
        "--model",
        str(mini_model),
        "--cpu-threads",
        "1",
    ]
    folder = tmp_path_factory.mktemp("server")
    process = subprocess.Popen([*command, "--data-dir", str(folder)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = next(line for line in process.stderr if line.startswith("Kikitori listens on "))
    log = threading.Thread(target=process.stderr.read)
    log.start()
    yield told.split()[3].rstrip(".")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    log.join()
    process.stderr.close()


def test_a_server_answers_the_same(kikitori: Kikitori, media: Path, samples: Samples, server: str) -> None:
    here, there = (
        kikitori.here("media/b.wav", "media/deep", "-f", "json", "-q", "--word-timestamps", *where)
        for where in ((), ("--url", server))
    )
    assert (here.returncode, there.returncode) == (0, 0)
    decode = json.JSONDecoder().raw_decode
    for text in (here.stdout, there.stdout):
        first, _ = decode(text)
        assert first["text"] == samples["en_01"].text
    plain = re.sub(r'"(duration|avg_logprob|language_probability|probability)": [-\d.e]+', "", here.stdout)
    assert plain == re.sub(r'"(duration|avg_logprob|language_probability|probability)": [-\d.e]+', "", there.stdout)


def test_a_server_tells_what_is_wrong(kikitori: Kikitori, media: Path, samples: Samples, server: str) -> None:
    done = kikitori.run("media", "-", "--url", f"{server}/v1", "-o", "out", stdin=samples["ko_04"].path.read_bytes())
    assert (done.returncode, done.stdout) == (1, "")
    assert "kikitori: media/bad.mp3: The file is not audio or video of a known format." in done.stderr
    written = {path.name: path.read_text("utf-8").strip() for path in (kikitori.folder / "out").iterdir()}
    assert written == {
        "a.txt": samples["ja_01"].text,
        "b.txt": samples["en_01"].text,
        "stdin.txt": samples["ko_04"].text,
    }
    refused = kikitori.here("media", "--url", server, "--model", "nonesuch")
    assert (refused.returncode, refused.stdout) == (3, "")


def test_a_server_that_cannot_start_says_why_in_one_line(kikitori: Kikitori, server: str) -> None:
    port = server.rpartition(":")[2]
    for arguments, code, words in (
        (["--port", port], 3, f"Port {port} of 127.0.0.1 cannot be used"),
        (["--port", "0", "--host", "0.0.0.0"], 2, "kikitori keys create"),
        (["--port", "0", "--tls-cert", "none.pem"], 2, "tls"),
        (["--port", "0", "--database-url", "postgresql://u:s3cret@127.0.0.1:9/d"], 3, "cannot be used"),
    ):
        done = kikitori.invoke("serve", *arguments)
        assert done.returncode == code, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("kikitori: ")]
        assert words in line
        assert "s3cret" not in done.stderr


class Terminal:
    """A process on a terminal of 120 columns; what it shows can be waited for."""

    def __init__(self, kikitori: Kikitori, *arguments: str, stdin: int | None = None) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*kikitori.command, *arguments],
            stdin=slave if stdin is None else stdin,
            stdout=slave,
            stderr=slave,
            cwd=kikitori.folder,
            env={**kikitori.environment, "TERM": "xterm-256color", "COLUMNS": "120"},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        self._patience = time.monotonic() + PATIENCE_SECONDS

    def wait_for(self, pattern: str) -> None:
        while not re.search(pattern, self.shown[-1_000:]):  # what is shown again and again would take long to search
            assert self._read(), f"ended without {pattern!r}: {self.shown}"

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self._patience = math.inf
            self.end()

    def _read(self) -> bool:
        """False when the process has ended."""
        assert time.monotonic() < self._patience, f"it hangs: {self.shown[-1_000:]}"
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux tells of the other side's end so
            return False
        self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return bool(data)


OnTerminal = Callable[..., Terminal]


@pytest.fixture
def on_terminal(kikitori: Kikitori) -> Iterator[OnTerminal]:
    """Starts the command on a terminal; whatever still runs at the end is killed."""
    started: list[Terminal] = []

    def start(*arguments: str, stdin: int | None = None) -> Terminal:
        started.append(Terminal(kikitori, *arguments, stdin=stdin))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


def test_a_terminal_shows_what_came_of_it(on_terminal: OnTerminal, samples: Samples) -> None:
    terminal = on_terminal(str(samples["en_multi_40s"].path))
    assert terminal.end() == 0
    assert re.search(r"✓ .*en_multi_40s\.wav: 0:40 of audio in 0:\d\d \([\d.]+× real time\), model, en", terminal.shown)
    assert "The teacher goes to the hotel on Tuesday." in terminal.shown


@pytest.fixture
def endless(samples: Samples) -> Iterator[int]:
    """The reading end of a pipe that brings 80 s of speech and then nothing, without ending."""
    reading, writing = os.pipe()
    with wave.open(str(samples["en_multi_80s"].path)) as source, io.BytesIO() as copy:
        with wave.open(copy, "wb") as target:
            target.setparams(source.getparams())
            target.writeframes(source.readframes(source.getnframes()))
            target.writeframes(bytes(2 * 16_000 * 60))
        data = copy.getvalue()
    head = data[:4] + b"\xff\xff\xff\xff" + data[8:40] + b"\xff\xff\xff\xff" + data[44:]  # of a length not known yet

    def feed() -> None:
        try:
            os.write(writing, head)
        except BrokenPipeError:  # nobody reads any more
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    yield reading
    os.close(reading)
    feeder.join()
    os.close(writing)


def test_a_terminal_shows_a_bar(on_terminal: OnTerminal, endless: int) -> None:
    on_terminal("-", stdin=endless).wait_for(r"stdin ━+ +0:\d\d, [\d.]+× real time")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_prints_what_was_heard(on_terminal: OnTerminal, endless: int, number: signal.Signals) -> None:
    terminal = on_terminal("-", "-f", "srt", stdin=endless)
    terminal.wait_for(r"stdin .{,40}× real time")
    terminal.process.send_signal(number)
    assert terminal.end() == 130
    assert "stdin: stopped at 0:" in terminal.shown
    assert re.search(r"1\r?\n00:00:0\d,\d+ --> ", terminal.shown)
    assert "Traceback" not in terminal.shown


def test_stopping_writes_what_was_heard_under_another_name(
    kikitori: Kikitori, on_terminal: OnTerminal, endless: int
) -> None:
    terminal = on_terminal("-", "-o", "out", stdin=endless)
    terminal.wait_for(r"stdin .{,40}× real time")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert [path.name for path in (kikitori.folder / "out").iterdir()] == ["stdin.partial.txt"]


def test_a_terminal_is_no_audio(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("-")
    assert terminal.end() == 2
    assert "kikitori transcribe - < talk.mp3" in terminal.shown
