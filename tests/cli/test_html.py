"""Markup is safe by construction."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from neuromod.core.html import Markup, element, join, paragraphs, text


class Reader(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


# HTML has no way to write these characters.
WRITABLE = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]))


@given(WRITABLE)
def test_text_comes_back_as_text(words):
    reader = Reader(element("p", words))
    assert reader.tags == ["p"]
    assert "".join(reader.words) == words


@given(WRITABLE)
def test_an_attribute_holds_what_it_was_given(value):
    reader = Reader(element("p", title=value))
    assert reader.attributes == [("title", value)]
    assert reader.words == []


def test_markup_goes_in_as_it_is():
    assert element("p", element("b", "a<b")) == "<p><b>a&lt;b</b></p>"
    assert text(Markup("<b>")) == "<b>"


def test_joining_escapes_each_plain_child():
    assert join("<", Markup("<"), 3) == "&lt;<3"


def test_void_elements_are_not_closed():
    assert element("img", alt="") == '<img alt="">'


def test_names_that_python_reserves():
    assert (
        element("a", class_="x", aria_label="y") == '<a class="x" aria-label="y"></a>'
    )


def test_blank_lines_part_paragraphs():
    assert paragraphs("one\nline\n\n two \n\n\n") == "<p>one\nline</p><p>two</p>"
