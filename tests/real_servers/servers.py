"""Real servers, each started on a free loopback port in a directory of its own and ended by pid.

One class for each: how it is configured, what it says about its limits, when it hangs up. The
system's servers run as ``nobody`` when the tests run as root (httpd refuses to serve as root).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
HERE = Path(__file__).parent
SECONDS_TO_START = 20.0
SECONDS_TO_STOP = 10.0
NOBODY = "nobody"


@dataclass(frozen=True)
class Settings:
    idle: int = 1
    """Seconds a connection is kept idle. Whole ones: half of the servers take nothing else, or cut
    the rest off in their hint."""
    max_requests: int | None = None
    """Requests a connection may carry; gunicorn: a worker."""


class RealServer:
    name: ClassVar[str]
    program: ClassVar[str] = ""
    """On the PATH; a Python package otherwise."""
    package: ClassVar[str] = ""
    drops_root: ClassVar[bool] = False
    hint: ClassVar[str | None] = None
    """``always`` or ``asked``: when it sends Keep-Alive."""
    grace: ClassVar[float] = 0.0
    """Seconds it waits beyond its idle limit."""
    closes_in_rounds: ClassVar[bool] = False
    """It looks for idle connections about once a second, and hangs up on all it finds at once."""
    reload_signal: ClassVar[signal.Signals | None] = None
    reloaded: ClassVar[str] = ""
    """In the log as often as it has been (re)loaded, where that can be told."""

    path = "/answer"
    path_without_hint = "/answer"

    def __init__(self, settings: Settings, host: str = HOST) -> None:
        self.settings = settings
        self.host = host
        self.directory = Path(tempfile.mkdtemp(prefix=f"holdfast-{self.name}-"))
        self.journal = self.directory / "journal"
        self.log = self.directory / "log"
        self.port = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    # -- for the servers to say

    @classmethod
    def missing(cls) -> str | None:
        """What is not installed."""
        if cls.program and shutil.which(cls.program) is None:
            return cls.program
        if cls.package and importlib.util.find_spec(cls.package) is None:
            return f"Python package {cls.package}"
        return None

    def command(self) -> list[str]:
        """Writes the configuration and says how to start."""
        raise NotImplementedError

    # -- for the tests

    @property
    def closes_after(self) -> float:
        return self.settings.idle + self.grace

    def start(self) -> None:
        # A port that was free a moment ago may be somebody else's by now.
        for last in (False, False, True):
            self.port = free_port(self.host)
            process = self._spawn(self.command(), drop_root=self.drops_root)
            if self._comes_up(process, self.port) and self._is_loaded():
                return
            self._end(process)
            if last:
                raise RuntimeError(f"{self.name} does not start: {self._tail()}")

    def stop(self) -> None:
        for process in reversed(self.processes):
            self._end(process)
        self.processes.clear()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def reload(self) -> None:
        assert self.reload_signal is not None
        self.processes[-1].send_signal(self.reload_signal)

    def loads(self) -> int:
        return self.log.read_text(errors="replace").count(self.reloaded)

    def executed(self) -> Counter[str]:
        """The ids of the POSTs it executed. Complete when it has been stopped."""
        found: Counter[str] = Counter()
        for line in self.journal.read_text().splitlines():
            method, _, target = line.partition(" ")
            if method == "POST":
                found.update(parse_qs(urlsplit(target).query).get("id", []))
        return found

    # -- processes

    def _spawn(self, command: list[str], *, drop_root: bool = False) -> subprocess.Popen[bytes]:
        nobody = pwd.getpwnam(NOBODY) if drop_root and os.geteuid() == 0 else None
        if nobody is not None:
            _give_to(nobody.pw_uid, self.directory)
        environment = os.environ | {"JOURNAL": str(self.journal), "HOME": str(self.directory)}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=None if nobody is None else nobody.pw_uid,
                group=None if nobody is None else nobody.pw_gid,
                extra_groups=None if nobody is None else [],
            )
        self.processes.append(process)
        return process

    def _comes_up(self, process: subprocess.Popen[bytes], port: int) -> bool:
        return eventually(lambda: process.poll() is None and answers(port, self.host))

    def _is_loaded(self) -> bool:
        return eventually(lambda: self.loads() > 0) if self.reloaded else True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
        # Its session is its own: what it leaves behind goes too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(SECONDS_TO_STOP)

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


class Nginx(RealServer):
    name = "nginx"
    program = "nginx"
    drops_root = True
    reload_signal = signal.SIGHUP
    announced: ClassVar[str] = ""

    def command(self) -> list[str]:
        at, settings = self.directory, self.settings
        limit = settings.max_requests or 1000
        temporary = "".join(
            f"{kind}_temp_path {at}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.write(
            "nginx.conf",
            f"""
            daemon off; pid {at}/nginx.pid; worker_processes 2;
            events {{ worker_connections 256; }}
            http {{
                {temporary}
                log_format journal '$request_method $request_uri';
                access_log {self.journal} journal;
                keepalive_timeout {settings.idle}s {self.announced};
                keepalive_requests {limit};
                server {{
                    listen {self.host}:{self.port};
                    location / {{ return 200 "ok"; }}
                }}
            }}
            """,
        )
        return ["nginx", "-e", f"{at}/error.log", "-p", f"{at}/", "-c", f"{at}/nginx.conf"]


class AnnouncingNginx(Nginx):
    """Its hint is a setting of its own, less than what it does."""

    name = "nginx-announcing"
    hint = "always"
    announced = "10s"

    def __init__(self, settings: Settings, host: str = HOST) -> None:
        super().__init__(Settings(75, settings.max_requests), host)


class Httpd(RealServer):
    name = "httpd"
    program = "apache2"
    drops_root = True
    hint = "asked"
    reload_signal = signal.SIGUSR1

    def command(self) -> list[str]:
        at, settings = self.directory, self.settings
        self.write("root/answer", "ok")
        modules = "\n".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
            for name in ("mpm_event", "authz_core", "reflector")
        )
        limit = 100 if settings.max_requests is None else settings.max_requests
        self.write(
            "httpd.conf",
            f"""
{modules}
ServerName localhost
Listen {self.host}:{self.port}
DefaultRuntimeDir {at}
PidFile {at}/httpd.pid
DocumentRoot {at}/root
ErrorLog {at}/error.log
LogFormat "%m %U%q" journal
CustomLog {self.journal} journal
KeepAliveTimeout {settings.idle}
MaxKeepAliveRequests {limit}
ServerLimit 2
StartServers 2
ThreadsPerChild 32
MaxRequestWorkers 64
<If "%{{REQUEST_METHOD}} == 'POST'">
    SetHandler reflector
</If>
""",
        )
        return ["apache2", "-d", str(at), "-f", f"{at}/httpd.conf", "-D", "FOREGROUND"]


class Haproxy(RealServer):
    """In front of a small Python server, which keeps the journal."""

    name = "haproxy"
    program = "haproxy"
    # It is the backend that the directory belongs to.
    reload_signal = signal.SIGUSR2
    reloaded = "Loading success"

    def start(self) -> None:
        self.backend_port = free_port()
        shutil.copy(HERE / "applications.py", self.directory)
        backend = self._spawn([sys.executable, "applications.py", str(self.backend_port)])
        # HAProxy tries again only after a second where it is refused.
        assert eventually(lambda: backend.poll() is None and answers(self.backend_port)), self._tail()
        super().start()

    def command(self) -> list[str]:
        config = self.write(
            "haproxy.cfg",
            f"""
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    timeout http-request {self.settings.idle}s
    timeout http-keep-alive {self.settings.idle}s
frontend front
    bind {self.host}:{self.port}
    default_backend back
backend back
    server one {HOST}:{self.backend_port}
""",
        )
        return ["haproxy", "-W", "-f", str(config)]


class Tomcat(RealServer):
    name = "tomcat"
    program = "java"
    drops_root = True
    hint = "asked"
    closes_in_rounds = True
    home: ClassVar[Path] = Path("/usr/share/tomcat10")
    resets: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if cls.home.exists() else "tomcat10")

    def command(self) -> list[str]:
        at, settings = self.directory, self.settings
        for name in ("logs", "temp", "work"):
            (at / name).mkdir(exist_ok=True)
        self.write("webapps/ROOT/answer", "ok")
        self.write("conf/catalina.properties", (self.home / "etc/catalina.properties").read_text())
        # The stock one brings JSP, which takes as long to start as all the rest.
        self.write(
            "conf/web.xml",
            """<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0" metadata-complete="true">
  <servlet>
    <servlet-name>default</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
  </servlet>
  <servlet-mapping><servlet-name>default</servlet-name><url-pattern>/</url-pattern></servlet-mapping>
</web-app>""",
        )
        # Nor does it look through all jars for annotations, which takes as long again.
        self.write(
            "conf/context.xml",
            '<Context containerSciFilter=".*"><JarScanner scanClassPath="false"/></Context>',
        )
        limit = 100 if settings.max_requests is None else settings.max_requests
        linger = 'connectionLinger="0"' if self.resets else ""
        # bindOnInit: it would accept connections half a second before there is an application.
        self.write(
            "conf/server.xml",
            f"""<Server port="-1"><Service name="Catalina">
  <Connector address="{self.host}" port="{self.port}" protocol="HTTP/1.1" bindOnInit="false" {linger}
             connectionTimeout="5000" keepAliveTimeout="{settings.idle}000" maxKeepAliveRequests="{limit}"/>
  <Engine name="Catalina" defaultHost="localhost">
    <Host name="localhost" appBase="webapps" autoDeploy="false">
      <Valve className="org.apache.catalina.valves.AccessLogValve" pattern="%m %U%q" buffered="false"
             directory="{at}" prefix="journal" suffix="" rotatable="false"/>
    </Host>
  </Engine>
</Service></Server>""",
        )
        jars = f"{self.home}/bin/bootstrap.jar:{self.home}/bin/tomcat-juli.jar"
        return [
            *("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            *(f"-Dcatalina.home={self.home}", f"-Dcatalina.base={at}", f"-Djava.io.tmpdir={at}/temp"),
            *("-cp", jars, "org.apache.catalina.startup.Bootstrap", "start"),
        ]


class ResettingTomcat(Tomcat):
    """Ends an idle connection with RST."""

    name = "tomcat-resetting"
    resets = True


class Node(RealServer):
    name = "node"
    program = "node"
    hint = "always"
    # Node 20 waits a second longer than it says.
    grace = 1.0
    path_without_hint = "/without-hint"

    def command(self) -> list[str]:
        shutil.copy(HERE / "application.js", self.directory)
        idle, limit = self.settings.idle * 1000, self.settings.max_requests or 0
        return ["node", "application.js", self.host, str(self.port), str(self.journal), str(idle), str(limit)]


class PythonServer(RealServer):
    def command(self) -> list[str]:
        shutil.copy(HERE / "applications.py", self.directory)
        return [sys.executable, "-m", self.package, *self.options()]

    def options(self) -> list[str]:
        raise NotImplementedError


class Gunicorn(PythonServer):
    name = "gunicorn"
    package = "gunicorn"
    closes_in_rounds = True
    reload_signal = signal.SIGHUP
    worker: ClassVar[str] = "gthread"

    def options(self) -> list[str]:
        # In a file, because a version that does not know a setting ignores it there.
        config = self.write(
            "gunicorn.conf.py",
            f"""
bind = "{self.host}:{self.port}"
worker_class = "{self.worker}"
workers = 1
threads = {32 if self.worker == "gthread" else 1}
keepalive = {self.settings.idle}
max_requests = {self.settings.max_requests or 0}
control_socket_disable = True
""",
        )
        return ["--config", str(config), "applications:wsgi"]


class GunicornSync(Gunicorn):
    """Knows no keep-alive: every response says close."""

    name = "gunicorn-sync"
    worker = "sync"


class Uvicorn(PythonServer):
    name = "uvicorn"
    package = "uvicorn"

    def options(self) -> list[str]:
        return [
            *("--host", self.host, "--port", str(self.port)),
            *("--timeout-keep-alive", str(self.settings.idle), "--no-access-log", "applications:asgi"),
        ]


class Waitress(PythonServer):
    name = "waitress"
    package = "waitress"
    closes_in_rounds = True

    def options(self) -> list[str]:
        return [
            *(f"--listen={self.host}:{self.port}", "--threads=8"),
            *(f"--channel-timeout={self.settings.idle}", "--cleanup-interval=1", "applications:wsgi"),
        ]


def free_port(host: str = HOST) -> int:
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool]) -> bool:
    ends = time.monotonic() + SECONDS_TO_START
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


def answers(port: int, host: str = HOST) -> bool:
    """A whole answer, not only a connection: some accept before there is an application."""
    try:
        with socket.create_connection((host, port), timeout=5) as sock:
            sock.sendall(b"GET /answer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return sock.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def _give_to(uid: int, directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        os.chown(path, uid, -1)
