"""The harness over HTTP, for tests in any language: people, bots, faults, the homeserver, the transcript, bundles.

`OPERATIONS` is the table of all that can be asked. The server and the OpenAPI document both follow from it.
"""

from greenroom.http_interface.openapi import document_text
from greenroom.http_interface.rehearsal import Rehearsal
from greenroom.http_interface.server import Interface, interface

__all__ = ["Interface", "Rehearsal", "document_text", "interface"]
