"""Recipes: how a source file becomes a sample. One module for each kind; `stored` reads the recipe of a cache."""
