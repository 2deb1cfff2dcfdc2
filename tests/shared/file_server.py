import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves one file on this machine; can break off, or know no ranges.

    `asked` holds the Range of each request.
    """

    ranges = True

    def __init__(self, name, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.content = name, content
        self.breaks_after = len(content)
        self.asked = []

    def url(self, name=None):
        return f"http://127.0.0.1:{self.server_port}/{name or self.name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != f"/{self.server.name}":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        self.wfile.write(self.server.content[start : start + self.server.breaks_after])

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(name, content):
    server = FileServer(name, content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
