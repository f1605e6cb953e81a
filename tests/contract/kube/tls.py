"""TLS for the hostile server: an authority, certificates good and bad, contexts with them."""

from __future__ import annotations

import base64
import ssl
import subprocess
from pathlib import Path

from contract.cluster.control_plane.certificates import Authority, Certificate
from contract.kube.hostile_server import Json

HERE = ["127.0.0.1"]


def context(
    certificate: Certificate, *, clients: Authority | None = None, newest: bool = True
) -> ssl.SSLContext:
    """Give a server's; with ``clients`` it demands their certificates."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate.certificate, certificate.key)
    if not newest:
        made.maximum_version = ssl.TLSVersion.TLSv1_2
    if clients is not None:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(clients.ca.certificate)
    return made


def out_of_date(authority: Authority, good: Certificate) -> Certificate:
    """Sign a certificate again, as of a day ago."""
    bad, request = good.certificate.with_suffix(".old"), good.certificate.with_suffix(".csr")
    asked = ("-x509toreq", "-in", good.certificate, "-signkey", good.key, "-out", request)
    by = ("-CA", authority.ca.certificate, "-CAkey", authority.ca.key, "-set_serial", "7")
    for step in (asked, ("-req", "-in", request, *by, "-days", "-1", "-out", bad)):
        command = ["openssl", "x509", "-copy_extensions", "copyall", *step]
        subprocess.run(command, check=True, capture_output=True)
    return Certificate(bad, good.key)


def trusting(authority: Authority) -> Json:
    """Give the part of a kubeconfig's cluster that names an authority."""
    return {"certificate-authority": str(authority.ca.certificate)}


def inline(path: Path) -> str:
    """Give a file as kubeconfigs hold it."""
    return base64.b64encode(path.read_bytes()).decode()


def showing(certificate: Certificate, *, inlined: bool = False) -> Json:
    """Give a kubeconfig's user with a certificate."""
    if inlined:
        return {
            "client-certificate-data": inline(certificate.certificate),
            "client-key-data": inline(certificate.key),
        }
    return {
        "client-certificate": str(certificate.certificate),
        "client-key": str(certificate.key),
    }
