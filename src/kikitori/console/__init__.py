"""The console: a web page for people, made with Streamlit. A client of the public API and sockets, and of nothing else.

How a page is made (``frame.PAGES`` lists them):

- A page is a module of ``console.pages`` with a function ``render() -> None`` that draws it; it is run anew at every
  touch, as Streamlit does. What must outlive a run lives in ``st.session_state`` under a key that begins with the
  name of the page: ``tasks.filter``.
- What must outlive the session, since a page that is loaded anew is another one, lives on ``tabs.current()``'s desk.
- Words come from ``words.say("tasks.title", count=3)``. Each page has a table of its own, ``words/<page>.py``, whose
  rows hold the four languages side by side; ``words/common.py`` has what several pages say.
- The server is ``here.api()``: ``api().get("/api/tasks", {"limit": 20})``, ``post``, ``delete``, ``content`` (bytes
  with their name), ``events`` (server-sent events). All raise ``ApiError`` with the server's own sentence; what a page
  does not catch is shown below its title by the frame, and a 401 leads to the sign-in.
- ``here.target()`` has the server's address for this process, ``here.browser_url()`` the one for the browser.
- A part that refreshes by itself is ``@st.fragment(run_every=2)``; wrap its calls in ``with frame.telling():``, since
  fragments run outside of the frame.
- A transcript is ``transcript_view(lines, key=…, player=…)``: lines to search, hear, copy and edit; ``lines`` makes
  them of a result, and turns them into a ``Transcript`` for the writers of ``kikitori.text``. ``text_view`` shows the
  text as a whole.
- Components of ours lie in ``parts``; ``component("lines")`` mounts one, with what all of them share before it.
- A page in a test: ``AppTest.from_function(script)`` where ``script`` does ``from kikitori.console.frame import show;
  show("tasks")``; ``tests/unit/console/fake_server.py`` stands in for the server (``httpx.MockTransport``).

No key, no text of a transcript and no name of a file is ever logged, or put into an address.
"""
