from pisr_core import presets
from pisr_core.weights.public.sources import SOURCES


def test_the_table_says_where_each_file_is_from():
    for name, known in SOURCES.items():
        assert known.url.startswith("https://") and known.page.startswith("https://"), name
        assert known.licence and known.description, name
        beginning = known.digest.partition(":")[2]
        assert beginning in known.file.name, name
        assert known.hub or known.preset in presets.names(), name
    assert len({known.url for known in SOURCES.values()}) == len(SOURCES)
