"""Files whose publisher says in two small texts where they are and what they contain.

As MLCommons' storage does (github.com/mlcommons/r2-downloader): `…/metadata/NAME.uri` holds one URL, the folder of the
files, and `…/metadata/NAME.md5` one line `<md5>  ./path` for each file, which lies at that URL and path. Both texts are
read anew for each file, and are untrusted: their size is bounded, only http and https are followed, no path leads
out of the folder, and a file still has to be what sources.yaml declares.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from octathlon.archives.download import NotGiven
from octathlon.archives.sums import parse, small_file

FOLDER = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


def locate(uri: str, name: str, checksum: str | None) -> tuple[str, str]:
    """The URL of the file `name`, in whatever folder, and the checksum that is published for it.

    Args:
        uri: where the first text is.
        checksum: the declared one, if any: it also tells files of the same name apart.

    Raises:
        NotGiven: if the texts can't be had (LoginPage: without a login), or don't give the file, or another one.
    """
    folder = small_file(uri).decode(errors="replace").strip()
    if not FOLDER.fullmatch(folder):
        raise NotGiven(f"{uri}: holds {folder[:80]!r} instead of a http or https URL")
    listed = f"{uri.removesuffix('.uri')}.md5"
    found = parse(listed, small_file(listed)).of(name)
    if found and checksum and checksum.startswith("md5:"):
        same = [each for each in found if each.checksum == checksum]
        if not same:
            raise NotGiven(f"{listed}: has {found[0].checksum} for {name} instead of the declared {checksum}")
        found = same[:1]
    if len(set(found)) != 1:
        raise NotGiven(f"{listed}: names {len(found)} files {name} instead of one")
    path = found[0].path
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise NotGiven(f"{listed}: {path[:80]!r} leads out of its folder")
    return f"{folder.rstrip('/')}/{quote(path.removeprefix('./'))}", found[0].checksum
