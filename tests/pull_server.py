"""An HTTP server that does what the first part of a path asks for, good or bad. For pull.py."""
import hashlib
import http.server
import ssl
import threading
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        s, path = self.server, urllib.parse.unquote(self.path.split("?")[0])
        how, _, name = path[1:].partition("/")
        key = (how, name)
        with s.lock:
            s.log.append((path, self.headers.get("Range"), self.headers.get("If-Range")))
            s.count[key] = s.count.get(key, 0) + 1
            times = s.count[key]
        try:
            getattr(self, "how_" + how, self.how_plain)(name, times)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # ---- answers ----

    def say(self, code, body=b"<!doctype html><p>sorry", **headers):
        self.send_response(code)
        for k, v in {"Content-Length": len(body), **headers}.items():
            self.send_header(k.replace("_", "-"), str(v))
        self.end_headers()
        self.wfile.write(body)

    def file(self, name, ranges=True, etag=None, date=None, cut=None, stall=None, slow=None, length=True, data=None, **headers):
        """The file, or the part of it that is asked for. cut: end the connection after so many bytes; stall: fall silent; slow:
        a pause after every 64 KiB."""
        data = self.server.files.get(name) if data is None else data
        if data is None:
            return self.say(404)
        etag = f'"{hashlib.md5(data).hexdigest()}"' if etag is None else etag
        rng, cond = self.headers.get("Range"), self.headers.get("If-Range")
        first = 0
        if ranges and rng and (cond is None or cond in (etag, date)):
            first = int(rng[len("bytes="):-1])
            if first >= len(data):
                return self.say(416, Content_Range=f"bytes */{len(data)}")
        body = data[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        if length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        for k, v in {"ETag": etag, "Last-Modified": date, **headers}.items():
            if v:
                self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        for at in range(0, len(body), 65536):
            piece = body[at:at + 65536]
            for limit, silent in ((cut, False), (stall, True)):
                if limit is not None and at + len(piece) > limit:
                    self.wfile.write(piece[:limit - at])
                    self.wfile.flush()
                    if silent:
                        self.server.stop.wait(30)
                    self.close_connection = True
                    return
            self.wfile.write(piece)
            time.sleep(slow or 0)
        self.close_connection = self.close_connection or not length

    # ---- what paths ask for ----

    def how_plain(self, name, times):
        self.file(name)

    def how_slow(self, name, times):
        self.file(name, slow=0.004)

    def how_noranges(self, name, times):
        self.file(name, ranges=False, cut=500000 if times == 1 else None)

    def how_nomark(self, name, times):  # neither ETag nor date
        self.file(name, etag="", cut=500000 if times == 1 else None)

    def how_weak(self, name, times):  # a weak ETag is no mark; the date is
        self.file(name, etag='W/"x"', date="Mon, 01 Jan 2024 00:00:00 GMT", cut=500000 if times == 1 else None)

    def how_cut(self, name, times):  # 700,000 bytes at a time
        self.file(name, cut=700000)

    def how_stuck(self, name, times):  # the same 100,000 bytes and no more, ever
        self.file(name, cut=100000 if not self.headers.get("Range") else 0)

    def how_stall(self, name, times):
        self.file(name, stall=300000 if times == 1 else None)

    def how_changing(self, name, times):  # another file the second time
        self.file(name, data=self.server.files["old/" + name] if times == 1 else None, cut=600000 if times == 1 else None)

    def how_restless(self, name, times):  # another mark every time, and it never gets to the end
        self.file(name, etag=f'"{times}"', cut=400000)

    def how_careless(self, name, times):  # another file the second time, and no regard for If-Range
        del self.headers["If-Range"]
        self.file(name, data=self.server.files["old/" + name] if times == 1 else None, cut=600000 if times == 1 else None)

    def how_lying(self, name, times):  # one mark for two files
        self.file(name, etag='"same"', data=self.server.files["old/" + name] if times == 1 else None, cut=600000 if times == 1 else None)

    def how_nolength(self, name, times):
        self.file(name, length=False)

    def how_wrongpart(self, name, times):  # the part before the one that was asked for
        if self.headers.get("Range") and times == 2:
            data = self.server.files[name]
            self.say(206, data[10:], Content_Range=f"bytes 10-{len(data) - 1}/{len(data)}")
        else:
            self.file(name, cut=500000 if times == 1 else None)

    def how_gone(self, name, times):  # 416: it has become shorter
        if times == 2:
            self.say(416, Content_Range="bytes */10")
        else:
            self.file(name, cut=500000 if times == 1 else None)

    def how_busy(self, name, times):  # twice 503
        self.say(503, Retry_After="1") if times < 3 else self.file(name)

    def how_broken(self, name, times):
        self.say(500)

    def how_404(self, name, times):
        self.say(404)

    def how_401(self, name, times):
        self.say(401, WWW_Authenticate="Bearer")

    def how_gzip(self, name, times):
        self.file(name, Content_Encoding="gzip")

    def how_to(self, name, times):  # to/ADDRESS: where it leads
        self.say(302, b"", Location=name if "://" in name else "/" + name, X_Linked_ETag=self.server.linked.get(name, ""))

    def how_round(self, name, times):
        self.say(302, b"", Location="/round/" + name)

    def how_hub(self, name, times):  # hub/OWNER/NAME/resolve/REVISION/FILE
        parts = name.split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            return self.say(404)
        file = "/".join(parts[4:])
        data = self.server.files.get(file)
        if data is None:
            return self.say(404)
        linked = self.server.linked.get(file, hashlib.sha256(data).hexdigest())
        self.say(302, b"", Location="/plain/" + file, X_Linked_ETag=f'"{linked}"', X_Linked_Size=len(data))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.linked, self.log, self.count, self.lock, self.stop = files, {}, [], {}, threading.Lock(), threading.Event()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # who leaves, leaves
