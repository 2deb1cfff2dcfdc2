from pisr_core import presets
from pisr_core.weights.public.sources import SOURCES


def test_the_table_says_where_each_file_is_from():
    for name, known in SOURCES.items():
        assert known.url.startswith("https://") and known.page.startswith("https://"), name
        assert known.licence and known.description, name
        beginning = known.digest.partition(":")[2]
        assert beginning in known.file.name, name
        assert known.preset in presets.names() or (known.hub and not known.preset), name
        if known.hub and known.preset:  # which starts from them: the same network, of the same data
            assert known.preset == "-".join([name.rpartition("-")[2], *name.split("-")[:-1]])
    assert len({known.url for known in SOURCES.values()}) == len(SOURCES)
