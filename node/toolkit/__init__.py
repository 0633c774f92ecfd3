"""What plugin authors import: inference, grids, measurements. Imports nothing by itself."""
