-- An answer that came to its limit of tokens is all that its question gets: the same words after it are a new question, "go on" above all.
ALTER TABLE message ADD COLUMN cut boolean NOT NULL DEFAULT false;
