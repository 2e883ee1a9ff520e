# Reads histories of timelines that the image with rclone cannot, with what barman
# itself reads them with. A text is named after the SHA-256 of its file, so that
# nobody takes it for another's. What cannot be read has none: the script of the
# mirror looks whether it needs it.
import hashlib
import os
import pathlib
import sys

CODECS = {".zst": "zstd", ".lz4": "lz4", ".snappy": "snappy"}


def read(file, to):
    from barman.clients.cloud_compression import decompress_to_file

    with file.open("rb") as source, to.open("wb") as text:
        decompress_to_file(source, text, CODECS[file.suffix])


folder = pathlib.Path(os.environ.get("TMPDIR", "/tmp"), os.environ["HISTORIES"])
folder.mkdir(exist_ok=True)
for file in sorted(folder.glob("*/**/*.history.*")):
    text = folder / hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        read(file, text.with_suffix(".partial"))
        text.with_suffix(".partial").rename(text)
    except (Exception, SystemExit) as problem:  # barman exits without a codec's module
        print(f"{file.relative_to(folder)} cannot be read: {problem!r}", file=sys.stderr)
