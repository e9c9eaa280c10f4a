"""Wire protocols without sockets: frames in, actions out; events in, frames out."""
