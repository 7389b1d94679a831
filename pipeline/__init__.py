"""The shell of cinefeat: files, command line, resume, shards and logs.

Data flows one way, through files whose folders are named after how they were made::

    videos --scan--> manifest --flow--> flow --describe--> bags --fit--> codebooks
           --encode--> encodings --train--> model --evaluate--> report
    videos, flow --embed--> features and maps --network--> networks --evaluate--> report

`stages/__init__.py` holds that list on one screen; `store.py` is the file contract; `run.py`
decides what is missing and does it.
"""

if __name__ != "cinefeat.pipeline":
    raise ImportError(
        f"{__name__!r} is the source folder of cinefeat.pipeline: install the project and import that name"
    )
