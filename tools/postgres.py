"""A PostgreSQL server in a temporary folder, for tests.

    sys.path.insert(0, "../../tools")
    from postgres import postgres_cluster

    cluster = postgres_cluster()  # None, with a line in the output, without PostgreSQL's programs
    if cluster:
        store = CaseStore(cluster.url("a_new_database"))

One cluster for each process is enough: it starts in about two seconds, and each test gets its own database. The server
listens on a Unix socket only, in a folder that no other user can open. A second process waits for the end of the first
one, however it ends; then it stops the server and deletes the folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

SUPERUSER = "postgres"
PASSWORD = "a password:with/signs"  # of the superuser of the temporary server
SETTINGS = {  # small and quick; what protects acknowledged writes keeps its default
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "autovacuum": "off",  # a test sees only the rows that the package itself removed
    "log_min_messages": "error",
}


def find_programs():
    "The folder of PostgreSQL's programs, or None"
    found = shutil.which("pg_ctl")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    folders = ([Path(found).resolve().parent] if found else []) + folders
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def run_program(program, arguments, user, environment=None):
    "Run a program as a user who isn't root, and return its output"
    options = dict(user=user.pw_uid, group=user.pw_gid, extra_groups=[]) if user else {}
    command = [str(program), *map(str, arguments)]
    with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server
        done = subprocess.run(command, check=False, stdout=output, stderr=output, cwd="/", env=environment, **options)
        output.seek(0)
        text = output.read().decode(errors="replace")
    assert done.returncode == 0, text[-2000:]
    return text


def server_user():
    "The user who runs the server if this process is root, which PostgreSQL refuses; None for this user"
    import pwd

    return pwd.getpwnam(SUPERUSER) if os.geteuid() == 0 else None


class Cluster:
    "A running server; `url` creates a database"

    def __init__(self, programs):
        self.programs = programs
        self.user = server_user()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        self.names = set()
        (self.folder / "password").write_text(PASSWORD, encoding="utf-8")
        if self.user:
            for path in (self.folder, self.folder / "password"):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        command = [sys.executable, __file__, str(self.folder), str(programs)]
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.watcher = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet)
        options = ["--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}", "--no-sync"]
        self.run("initdb", f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C.UTF-8", *options, self.data)
        lines = [f"{name} = '{value}'" for name, value in SETTINGS.items()]
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n".join([*lines, f"unix_socket_directories = '{self.folder}'"]) + "\n")
        self.start()

    def run(self, program, *arguments):
        "Run a program of PostgreSQL, and return its output"
        environment = {**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}
        return run_program(self.programs / program, arguments, self.user, environment)

    def start(self):
        "Start the server, and wait until it accepts connections"
        self.run("pg_ctl", "start", "-w", "-s", "-D", self.data, "-l", self.folder / "log")

    def stop(self, mode="immediate"):
        "Stop the server; `immediate` ends it like a power failure of the server's processes"
        self.run("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", self.data)

    def sql(self, statement, database="postgres"):
        "Run a statement as the superuser, and return the output"
        return self.run("psql", "-qAtX", "-h", self.folder, "-U", SUPERUSER, "-d", database, "-c", statement).strip()

    def address(self, database, user=SUPERUSER, password=PASSWORD):
        "The URL of a database that may be missing"
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@/{database}?host={self.folder}"

    def url(self, database):
        "The URL of a database, which is created if it is missing"
        if database not in self.names:
            self.names.add(database)
            self.sql(f'CREATE DATABASE "{database}"')
        return self.address(database)

    def files_with(self, database, *needles):
        "The needles (bytes) that are found in a data file of a database, after a checkpoint"
        self.sql("CHECKPOINT")
        folder = self.data / "base" / self.sql(f"SELECT oid FROM pg_database WHERE datname = '{database}'")
        contents = (path.read_bytes() for path in folder.iterdir())
        return sorted({needle for content in contents for needle in needles if needle in content})

    def remove(self):
        "Stop the server, and delete its folder"
        self.watcher.stdin.close()
        self.watcher.wait()


def postgres_cluster():
    "A new server; None, and a line in the output, without PostgreSQL's programs"
    programs = find_programs() if os.name == "posix" else None
    if programs is None:
        print("skipped: the tests on PostgreSQL, whose programs aren't installed")
        return None
    try:
        return Cluster(programs)
    except KeyError:
        print(f"skipped: the tests on PostgreSQL, which need the user {SUPERUSER} when root runs them")
        return None


def watch(folder, programs):
    "Wait until the process that started the server ends; then remove the server"
    sys.stdin.buffer.read()
    data = folder / "data"
    if (data / "postmaster.pid").exists():
        run_program(programs / "pg_ctl", ("stop", "-w", "-s", "-m", "immediate", "-D", data), server_user())
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(*map(Path, sys.argv[1:]))
