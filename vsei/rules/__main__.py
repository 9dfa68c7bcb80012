"""`python -m vsei.rules`: the rules as docs/rules.md has them."""

from vsei.rules.table import markdown

if __name__ == "__main__":
    print(markdown(), end="")
