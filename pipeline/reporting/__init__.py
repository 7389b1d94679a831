"""The page of a run: one HTML file that holds all it shows.

`figures` reads report folders into one tree of plain values, which the page shows and carries along;
`comparison`, `costs`, `film` and `curves` add what they are named after; `page` renders the tree.
"""
