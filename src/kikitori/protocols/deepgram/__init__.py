"""Deepgram's ``/v1/listen``, for programs that were written for it: live sockets and whole recordings."""
