"""The isolated process in which a recipe is tried, and what it does there."""
