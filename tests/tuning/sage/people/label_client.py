"""A browser's part, played against a real label server."""

import http.client
import re
import threading
import urllib.parse
from contextlib import contextmanager

from tests.tuning.sage.people.made_up import CLASSES, made
from tuning.sage.people.label_server import application, listening, server
from tuning.sage.people.labelling import Labelling
from tuning.sage.people.run_folder import failures_of

SAVED = [*(made(number) for number in range(4)), made(4, search="seed")]


@contextmanager
def serving(run, classes=CLASSES, rater=None):
    """A real server on a free port; gives its port."""
    with listening("127.0.0.1", 0) as listener:
        own = server(application(Labelling(run, failures_of(run), classes), "127.0.0.1", rater))
        thread = threading.Thread(target=own.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            own.should_exit = True
            thread.join()


def ask(port, path, form=None, **headers):
    """Send a request as a browser on the server's own page does; returns status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    own = {} if form is None else {"Origin": f"http://127.0.0.1:{port}"}
    body = None if form is None else urllib.parse.urlencode(form)
    connection.request("GET" if form is None else "POST", path, body, own | headers)
    response = connection.getresponse()
    found = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return found


def asked(port, rater="ann"):
    """The token of the picture that a rater is asked about; None at the end."""
    page = ask(port, f"/rater/{rater}")[2].decode()
    found = re.search(r'src="/picture/(\w+)"', page)
    return found and found[1]


def answer(port, choice, rater="ann"):
    picture = asked(port, rater)
    assert ask(port, f"/rater/{rater}", {"picture": picture, "answer": choice})[0] == 303
    return picture
