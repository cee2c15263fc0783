"""Test the DICOM topic with real peers: `make test-dicom`.

    python tools/dicom.py [--install] [--kills 20] [--only NAME]

`--install` installs the Debian packages (as root): Orthanc with its DICOMweb plug-in, DCMTK, dicom3tools and PixelMed.
A test whose programs are missing is named as skipped.

- `dcmtk`: `echoscu` and `storescu` send to the listener; `dcmdump` and `dsrdump` read all results without errors;
- `validators`: `dciodvfy` on every kind of result, and PixelMed's validator on the reports;
- `orthanc`: C-STORE in both directions; QIDO lists the results in the study; their pixels are equal; a repeated
  delivery leaves one copy;
- `dicomweb`: `pneumonia dicomweb` on Orthanc: QIDO, WADO and STOW;
- `tls`: `storescu` with certificates, and refused without one;
- `down`: the destination starts after the results;
- `kills`: the listener is ended by SIGKILL at random moments.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from browser import free_port
from measure_dicom import Destination, Listener, measure_kills, wait_for_reports

from pneumonia_nbdev.cli.app import app, invoke
from pneumonia_nbdev.cli.dicom import dicomweb_command
from pneumonia_nbdev.deployment.predictor import PneumoniaDetectionSystem
from pneumonia_nbdev.dicom.key_object import KINDS, result_objects
from pneumonia_nbdev.dicom.peers import open_dicomweb
from pneumonia_nbdev.dicom.source import example_dataset, file_bytes

PACKAGES = ("orthanc", "orthanc-dicomweb", "dcmtk", "dicom3tools", "libpixelmed-java", "default-jre-headless")
PIXELMED = Path("/usr/share/java/pixelmed.jar")
# The style sheets of the validator are larger than the limits of recent Java versions.
JAVA = ["java", *(f"-Djdk.xml.xpath{name}Limit=0" for name in ("ExprOp", "ExprGrp", "TotalOp"))]
STUDY = dict(StudyInstanceUID="1.2.826.0.1.99.1", SeriesInstanceUID="1.2.826.0.1.99.2")


class Skip(Exception):
    "A test whose programs are missing"


def program(name):
    "The path of a program; pynetdicom has programs with names of DCMTK, which aren't meant here"
    return str(Path("/usr/bin", name)) if Path("/usr/bin", name).exists() else name


def need(*programs):
    "Raise `Skip` unless all programs are installed"
    missing = [name for name in programs if not (shutil.which(program(name)) or Path(name).exists())]
    if missing:
        raise Skip(f"missing: {', '.join(missing)}")


def run(*command):
    "Run a program; its output, or an error"
    command = [program(command[0]), *map(str, command[1:])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command[0]}: {(done.stdout + done.stderr)[-1500:]}"
    return done.stdout + done.stderr


@contextmanager
def orthanc(folder, listener_port):
    "An Orthanc server on free ports; yields (DICOM port, HTTP port)"
    need("Orthanc")
    ports = dict(DicomPort=free_port(), HttpPort=free_port())
    plugin = next(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so"))
    config = dict(
        Name="ORTHANC",
        DicomAet="ORTHANC",
        StorageDirectory=str(folder / "orthanc"),
        IndexDirectory=str(folder / "orthanc"),
        RemoteAccessAllowed=False,
        AuthenticationEnabled=False,
        DicomCheckCalledAet=False,
        DicomAlwaysAllowStore=True,
        DicomAlwaysAllowEcho=True,
        UnknownSopClassAccepted=True,
        Plugins=[str(plugin)],
        DicomModalities=dict(pneumonia=["PNEUMONIA", "127.0.0.1", listener_port]),
        DicomWeb=dict(Enable=True, Root="/dicom-web/"),
        **ports,
    )
    path = folder / "orthanc.json"
    path.write_text(json.dumps(config))
    log = (folder / "orthanc.log").open("w")
    process = subprocess.Popen(["Orthanc", str(path)], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                get(ports["HttpPort"], "/system")
                break
            except OSError:
                assert time.monotonic() < end and process.poll() is None, "Orthanc doesn't start"
                time.sleep(0.2)
        yield ports["DicomPort"], ports["HttpPort"]
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def get(port, address, data=None):
    "An answer of Orthanc's own interface"
    request = urllib.request.Request(f"http://127.0.0.1:{port}{address}", data)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


class Node:
    "What `Listener` needs of a destination"

    def __init__(self, port):
        self.port = port


def wait_for(condition, seconds=120):
    "Wait until a function returns something true, and return it"
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)
    return found


def modalities(client, study):
    "Modality -> series of a study, by QIDO"
    rows = [pydicom.Dataset.from_json(row) for row in client.search_for_series(study)]
    return {str(row.Modality): str(row.SeriesInstanceUID) for row in rows}


def image_and_results():
    "An image, and its results of all kinds"
    source = example_dataset(**STUDY, SOPInstanceUID="1.2.826.0.1.99.3")
    prediction = PneumoniaDetectionSystem().predict(file_bytes(source))
    return source, result_objects(prediction, source)


def test_dcmtk(folder):
    need("echoscu", "storescu", "dcmdump", "dsrdump")
    image = folder / "image.dcm"
    image.write_bytes(file_bytes(example_dataset()))
    destination = Destination()
    listener = Listener(folder / "queue", destination, 0, "--results", ",".join(KINDS), "--keep")
    address = ("127.0.0.1", listener.port)
    run("echoscu", "-aec", "PNEUMONIA", *address)
    run("storescu", "-aec", "PNEUMONIA", *address, image)
    other = [program("storescu"), "-aec", "OTHER", *map(str, address), str(image)]
    assert subprocess.run(other, check=False, capture_output=True).returncode != 0
    wait_for_reports(destination, [str(example_dataset().SOPInstanceUID)], listener)
    wait_for(lambda: len(destination.rows) == len(KINDS))
    listener.stop()
    destination.stop()
    files = sorted((folder / "queue" / "results").iterdir())
    for file in files:
        assert "E: " not in run("dcmdump", file)
    reports = [file for file in files if pydicom.dcmread(file).Modality in ("SR", "KO")]
    for file in reports:
        assert "E: " not in run("dsrdump", file)
    return f"{len(files)} results read, {len(reports)} as structured reports"


def test_validators(folder):
    need("dciodvfy")
    source, results = image_and_results()
    lateral = PneumoniaDetectionSystem().predict(file_bytes(example_dataset(ViewPosition="LL")))
    results = {**results, "not_assessed": result_objects(lateral, source)["sr"]}
    for name, found in results.items():
        path = folder / f"{name}.dcm"
        found.save_as(path, enforce_file_format=True)
        output = subprocess.run(["dciodvfy", path], check=False, capture_output=True, text=True)
        errors = [line for line in (output.stdout + output.stderr).splitlines() if line.startswith("Error")]
        assert not errors, (name, errors)
    note = f"dciodvfy: {len(results)} objects without errors"
    if not (shutil.which("java") and PIXELMED.exists()):
        return f"{note}; PixelMed skipped: Java or libpixelmed-java is missing"
    for name in ("sr", "not_assessed", "ko"):
        output = run(*JAVA, "-cp", PIXELMED, "com.pixelmed.validate.DicomSRValidator", folder / f"{name}.dcm")
        errors = [line for line in output.splitlines() if line.startswith("Error")]
        assert not errors and "Root Template Validation Complete" in output, (name, output[-1000:])
    return f"{note}; PixelMed: 3 reports without errors"


def test_orthanc(folder):
    need("storescu")
    source, expected = image_and_results()
    image = folder / "image.dcm"
    image.write_bytes(file_bytes(source))
    port = free_port()
    with orthanc(folder, port) as (dicom_port, http_port):
        client = open_dicomweb(f"http://127.0.0.1:{http_port}/dicom-web")
        run("storescu", "-aec", "ORTHANC", "127.0.0.1", dicom_port, image)
        options = ("--results", ",".join(KINDS))
        command = ("--queue", folder / "queue", "--send-to", f"ORTHANC@127.0.0.1:{dicom_port}")
        listener = Listener(folder / "queue", Node(dicom_port), port, *options, *command)
        instances = get(http_port, "/instances")
        get(http_port, "/modalities/pneumonia/store", json.dumps(instances[0]).encode())
        wanted = {"DX", "SR", "OT", "PR", "SEG", "KO"}
        found = wait_for(lambda: (m := modalities(client, source.StudyInstanceUID)).keys() >= wanted and m)
        listener.stop()
        for kind in ("sc", "seg"):
            ours = expected[kind]
            theirs = client.retrieve_instance(source.StudyInstanceUID, ours.SeriesInstanceUID, ours.SOPInstanceUID)
            assert np.array_equal(ours.pixel_array, theirs.pixel_array), kind
            assert theirs.PatientID == source.PatientID
        number = len(get(http_port, "/instances"))
        shutil.rmtree(folder / "queue")
        listener = Listener(folder / "queue", Node(dicom_port), port, *options, *command)
        run("storescu", "-aec", "PNEUMONIA", "127.0.0.1", port, image)
        wait_for(lambda: any('"predicted"' in line for line in listener.lines))
        wait_for(lambda: not any((folder / "queue" / "results").iterdir()))
        listener.stop()
        assert len(get(http_port, "/instances")) == number == 6, "a repeated delivery made copies"
    return f"series {', '.join(sorted(found))}; pixels equal; {number} objects after a repeated delivery"


def test_dicomweb(folder):
    assert dicomweb_command in {command.callback for command in app.registered_commands}
    with orthanc(folder, 1) as (_, http_port):
        url = f"http://127.0.0.1:{http_port}/dicom-web"
        client = open_dicomweb(url)
        source, _ = image_and_results()
        client.store_instances([source, example_dataset(SOPInstanceUID="1.2.826.0.1.99.9", ViewPosition="LL")])
        arguments = ("dicomweb", url, "--since", "20260101", "--queue", folder / "web", "--json")
        first = invoke(*arguments)
        assert first.exit_code == 0, first.stderr
        found = modalities(client, source.StudyInstanceUID)
        assert found.keys() >= {"DX", "SR", "PR", "KO"}, found
        second = invoke(*arguments)
        images = (first.rows[0]["images"], second.rows[0]["images"])
        assert images[0] == dict(new=1, wrong_view=1) and images[1]["known"] == 1, images
    return f"stored {', '.join(sorted(found))}; second call: {images[1]}"


def certificates(folder):
    "An authority and two certificates: of the listener and of a sender"
    need("openssl")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority",
        "-keyout", folder / "ca.key", "-out", folder / "ca.pem")  # fmt: skip
    for name in ("listener", "sender"):
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")  # fmt: skip
        run("openssl", "x509", "-req", "-days", "2", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem",
            "-CAkey", folder / "ca.key", "-CAcreateserial", "-out", folder / f"{name}.pem")  # fmt: skip


def test_tls(folder):
    need("storescu")
    certificates(folder)
    image = folder / "image.dcm"
    image.write_bytes(file_bytes(example_dataset()))
    files = ("--certificate", folder / "listener.pem", "--key", folder / "listener.key")
    files += ("--authority", folder / "ca.pem")
    command = [sys.executable, "-c", "from pneumonia_nbdev.cli.cli import main; main()", "listen", "--port", "0"]
    command += ["--queue", str(folder / "queue"), *map(str, files)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        port = json.loads(process.stderr.readline())["port"]
        address = ("-aec", "PNEUMONIA", "127.0.0.1", port, image)
        tls = ("+tls", folder / "sender.key", folder / "sender.pem", "+cf", folder / "ca.pem")
        run("storescu", *tls, *address)
        plain = subprocess.run([program("storescu"), *map(str, address)], check=False, capture_output=True, timeout=60)
        assert plain.returncode != 0, "a connection without TLS was accepted"
        anonymous = [program("storescu"), "--anonymous-tls", "+cf", str(folder / "ca.pem"), *map(str, address)]
        assert subprocess.run(anonymous, check=False, capture_output=True, timeout=60).returncode != 0
        run("storescu", *tls, *address)
    finally:
        process.terminate()
        assert process.wait(60) == 0
    return "accepted with a certificate; refused without TLS and without a certificate"


def test_down(folder):
    need("storescu")
    image = folder / "image.dcm"
    image.write_bytes(file_bytes(example_dataset()))
    port = free_port()
    listener = Listener(folder / "queue", Node(port))
    run("storescu", "-aec", "PNEUMONIA", "127.0.0.1", listener.port, image)
    wait_for(lambda: sum('"delivery_failed"' in line for line in listener.lines) >= 2)
    destination = Destination(port)
    wait_for_reports(destination, [str(example_dataset().SOPInstanceUID)])
    listener.stop()
    destination.stop()
    return "delivered after the destination had started"


def test_kills(folder, kills):
    found = measure_kills(folder, kills)
    assert found["with_report"] == found["acknowledged"] > 0, found
    return json.dumps(found)


TESTS = (test_dcmtk, test_validators, test_orthanc, test_dicomweb, test_tls, test_down, test_kills)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", choices=[test.__name__.partition("_")[2] for test in TESTS])
    args = parser.parse_args()
    if args.install and os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], **quiet)
    states = []
    for test in TESTS:
        name = test.__name__.partition("_")[2]
        if args.only not in (None, name):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as temp:
            try:
                note = test(Path(temp), args.kills) if test is test_kills else test(Path(temp))
                state = "ok  "
            except Skip as e:
                state, note = "skip", str(e)
            except Exception as e:
                state, note = "FAIL", f"{type(e).__name__}: {e}"
        states.append(state)
        print(f"{state} {name}  {time.monotonic() - began:.0f} s  {note}", flush=True)
    print(f"{states.count('ok  ')} passed, {states.count('FAIL')} failed, {states.count('skip')} skipped")
    sys.exit(bool(states.count("FAIL")))


if __name__ == "__main__":
    main()
