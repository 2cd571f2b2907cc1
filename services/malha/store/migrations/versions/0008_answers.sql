-- An answer names its question, so that a question has one answer however often its stream was lost. A question whose answer is not whole names
-- who gives it: whoever asks it again takes that over, and what a server that has not noticed it would still keep is not written.
ALTER TABLE message
    ADD COLUMN question_id uuid,
    ADD COLUMN answering uuid, -- of a question: the newest that answers it. NULL: its answer is whole, or nobody was asked
    ADD CONSTRAINT message_question FOREIGN KEY (tenant_id, question_id) REFERENCES message (tenant_id, id) ON DELETE SET NULL (question_id);

CREATE UNIQUE INDEX message_answer ON message (tenant_id, question_id) WHERE question_id IS NOT NULL;
