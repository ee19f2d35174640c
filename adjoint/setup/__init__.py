"""The mirrors of nbnumba's setup: they pull cotangents of records back to parameters, and say how tables of records move."""
