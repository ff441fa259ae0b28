"""A hub on this machine: as much of the protocol as the client speaks when it fetches a model, and what was asked."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import pytest

TOKEN = "hf_canaryCanaryCanary"
LARGE = (".safetensors", ".bin")
CHUNK_BYTES = 2**14


@dataclass
class Hub:
    """Repositories by name, each with its commits; the last one is `main`. What was asked is kept for the test.

    gated: repositories whose files need a token in `members`; declared_bytes: sizes that are told instead of the
    true ones; spoilt: files that are sent as zeros; cut_after_bytes: so much of a large file is sent in one answer,
    and then the line is cut, or held where `hold` is set; sent_bytes: what has been sent of each large file;
    after_listing: what happens when a client has been told of the newest files.
    """

    url: str = ""
    elsewhere: str = ""
    repos: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    declared_bytes: dict[str, int] = field(default_factory=dict)
    cut_after_bytes: int = 0
    hold: bool = False
    spoilt: set[str] = field(default_factory=set)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    after_listing: Callable[[], object] = lambda: None

    def commit(self, repo: str, folder: Path) -> str:
        """Make a commit of the files in a folder, and return its name."""
        files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        commits = self.repos.setdefault(repo, [])
        name = hashlib.sha1(repr((repo, len(commits), sorted(files.items()))).encode()).hexdigest()  # noqa: S324 - as git
        commits.append((name, files))
        return name

    def files_of(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return a commit and its files; None for a revision that there is not."""
        commits = self.repos[repo]
        if revision == "main":
            return commits[-1]
        return next((commit for commit in commits if commit[0] == revision), None)

    def fetched(self) -> set[str]:
        """Return the names of the files whose content was asked for."""
        return {line.partition(" ")[2] for line in self.asked if line.startswith("GET /") and "/resolve/" in line}


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub on a port of its own, until the block ends."""
    hub = Hub()

    class Answering(_Answering):
        pass

    Answering.hub = hub
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        hub.elsewhere = f"http://localhost:{server.server_port}"  # another origin, as the real one's storage is
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.release.set()
            server.shutdown()
            thread.join()


@contextmanager
def reachable(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub to which the client is led, in this process and its children; `home` is for what comes from it."""
    cache = str(home / "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
    with serving() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_CACHE": cache}
        for name, value in {**settings, "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        yield hub


class _Answering(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens[path] = self.headers.get("Authorization", "")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._tell_of("/".join(parts[2:4]), "/".join(parts[5:]) or "main")
        elif parts[0] == "storage":
            self._send_large(parts[1])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404, "EntryNotFound")

    def _tell_of(self, repo: str, revision: str) -> None:
        found = self._found(repo, revision)
        if found:
            commit, files = found
            siblings = [self._sibling(name, content) for name, content in files.items()]
            gated = "manual" if repo in self.hub.gated else False
            self._answer({"id": repo, "modelId": repo, "sha": commit, "gated": gated, "siblings": siblings})
            self.hub.after_listing()

    def _sibling(self, name: str, content: bytes) -> dict[str, Any]:
        size = self.hub.declared_bytes.get(name, len(content))
        told: dict[str, Any] = {"rfilename": name, "size": size, "blobId": _git_id(content)}
        if name.endswith(LARGE):
            told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}
        return told

    def _found(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if repo not in self.hub.repos:
            self._refuse(401 if not self.headers.get("Authorization") else 404, "RepoNotFound")
            return None
        found = self.hub.files_of(repo, revision)
        if found is None:
            self._refuse(404, "RevisionNotFound")
        return found

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        found = self._found(repo, revision)
        if found is None:
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo in self.hub.gated and token not in self.hub.members:
            self._refuse(403 if token else 401, "GatedRepo")
            return
        commit, files = found
        if name not in files:
            self._refuse(404, "EntryNotFound")
        elif name.endswith(LARGE):
            digest = hashlib.sha256(files[name]).hexdigest()
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(files[name]))}
            where = {"Location": f"{self.hub.elsewhere}/storage/{digest}", "X-Repo-Commit": commit}
            self._send(302, b"", linked | where)
        else:
            self._send(200, files[name], {"ETag": f'"{_git_id(files[name])}"', "X-Repo-Commit": commit})

    def _send_large(self, digest: str) -> None:
        """Send a large file from where it is asked for, at most as much at once as the hub does."""
        every = {
            hashlib.sha256(content).hexdigest(): (name, content)
            for commits in self.hub.repos.values()
            for _, files in commits
            for name, content in files.items()
        }
        name, content = every[digest]
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self._send_body(name, content, begin)

    def _send_body(self, name: str, content: bytes, begin: int) -> None:
        limit = self.hub.cut_after_bytes or len(content)
        part = content[begin : begin + limit]
        if name in self.hub.spoilt:
            part = bytes(len(part))
        for start in range(0, len(part), CHUNK_BYTES):
            self.wfile.write(part[start : start + CHUNK_BYTES])
        self.wfile.flush()
        self.hub.sent_bytes[name] += len(part)
        if begin + limit < len(content):
            if self.hub.hold:
                self.hub.held.set()
                self.hub.release.wait(60)
            self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code})

    def _answer(self, content: dict[str, Any]) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - as git
