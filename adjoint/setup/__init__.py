"""The mirrors of nbnumba's setup: from the cotangents of records to those of what a user says, and how records move."""
