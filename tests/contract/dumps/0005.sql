BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE association (
	id VARCHAR(32) NOT NULL, 
	peer VARCHAR(64) NOT NULL, 
	calling_ae VARCHAR(16) NOT NULL, 
	receiver VARCHAR(80) NOT NULL, 
	opened_at FLOAT NOT NULL, 
	CONSTRAINT pk_association PRIMARY KEY (id)
);
INSERT INTO "association" VALUES('x','x','x','x',1.5);
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	owner VARCHAR(80) NOT NULL, 
	started_at FLOAT NOT NULL, 
	ended_at FLOAT, 
	outcome VARCHAR(16) NOT NULL, 
	code VARCHAR(40) NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_attempt PRIMARY KEY (id), 
	CONSTRAINT fk_attempt_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT uq_attempt_job_id_attempt UNIQUE (job_id, attempt)
);
INSERT INTO "attempt" VALUES(1,'x',7,'x',1.5,1.5,'x','x','x');
CREATE TABLE clinical_value (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	value JSON, 
	unit VARCHAR(16) NOT NULL, 
	entered_by VARCHAR(64) NOT NULL, 
	way VARCHAR(16) NOT NULL, 
	at FLOAT NOT NULL, 
	CONSTRAINT pk_clinical_value PRIMARY KEY (id), 
	CONSTRAINT fk_clinical_value_study_id FOREIGN KEY(study_id) REFERENCES study (id)
);
INSERT INTO "clinical_value" VALUES(1,1,'x','"x"','x','x','x',1.5);
CREATE TABLE decision (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	study_revision INTEGER NOT NULL, 
	rule VARCHAR(64) NOT NULL, 
	plugin VARCHAR(80) NOT NULL, 
	at FLOAT NOT NULL, 
	outcome VARCHAR(24) NOT NULL, 
	code VARCHAR(40) NOT NULL, 
	sentence TEXT NOT NULL, 
	document JSON NOT NULL, 
	job_id VARCHAR(32), 
	CONSTRAINT pk_decision PRIMARY KEY (id), 
	CONSTRAINT fk_decision_study_id FOREIGN KEY(study_id) REFERENCES study (id)
);
INSERT INTO "decision" VALUES(1,1,7,'x','x',1.5,'x','x','x','"x"','x');
CREATE TABLE delivery (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	evidence_id INTEGER NOT NULL, 
	destination VARCHAR(64) NOT NULL, 
	profile VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	position INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_attempt_at FLOAT NOT NULL, 
	sent_at FLOAT, 
	committed_at FLOAT, 
	proven_at FLOAT, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	owner VARCHAR(80) NOT NULL, 
	lease_until FLOAT, 
	CONSTRAINT pk_delivery PRIMARY KEY (id), 
	CONSTRAINT fk_delivery_evidence_id FOREIGN KEY(evidence_id) REFERENCES evidence (id), 
	CONSTRAINT fk_delivery_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT uq_delivery_evidence_id_destination UNIQUE (evidence_id, destination)
);
INSERT INTO "delivery" VALUES(1,'x',1,'x','x','x',7,7,1.5,1.5,1.5,1.5,'x','x','x',1.5);
CREATE TABLE evidence (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	role VARCHAR(24) NOT NULL, 
	encoding TEXT NOT NULL, 
	study_instance_uid VARCHAR(64) NOT NULL, 
	series_instance_uid VARCHAR(64) NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	path TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	position INTEGER NOT NULL, 
	checks JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_evidence PRIMARY KEY (id), 
	CONSTRAINT fk_evidence_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT uq_evidence_job_id_encoding_role UNIQUE (job_id, encoding, role), 
	CONSTRAINT uq_evidence_sop_instance_uid UNIQUE (sop_instance_uid)
);
INSERT INTO "evidence" VALUES(1,'x','x','x','x','x','x','x','x','x','x',7,7,'"x"',1.5);
CREATE TABLE instance (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	series_id INTEGER NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	transfer_syntax_uid VARCHAR(64) NOT NULL, 
	content_sha256 VARCHAR(64) NOT NULL, 
	pixel_sha256 VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	origin VARCHAR(16) NOT NULL, 
	path TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	received_at FLOAT NOT NULL, 
	calling_ae VARCHAR(16) NOT NULL, 
	called_ae VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_instance PRIMARY KEY (id), 
	CONSTRAINT fk_instance_series_id FOREIGN KEY(series_id) REFERENCES series (id), 
	CONSTRAINT fk_instance_study_id FOREIGN KEY(study_id) REFERENCES study (id), 
	CONSTRAINT uq_instance_sop_instance_uid_content_sha256 UNIQUE (sop_instance_uid, content_sha256)
);
INSERT INTO "instance" VALUES(1,1,1,'x','x','x','x','x','x','x','x',7,1.5,'x','x');
CREATE TABLE job (
	id VARCHAR(32) NOT NULL, 
	study_id INTEGER NOT NULL, 
	study_revision INTEGER NOT NULL, 
	rule VARCHAR(64) NOT NULL, 
	plugin VARCHAR(64) NOT NULL, 
	plugin_version VARCHAR(32) NOT NULL, 
	plugin_digest VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason_code VARCHAR(40) NOT NULL, 
	reason TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	run_number INTEGER NOT NULL, 
	inputs JSON NOT NULL, 
	destinations JSON NOT NULL, 
	shadow BOOLEAN NOT NULL, 
	attempt INTEGER NOT NULL, 
	owner VARCHAR(80) NOT NULL, 
	lease_until FLOAT, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	ended_at FLOAT, 
	report JSON, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT fk_job_study_id FOREIGN KEY(study_id) REFERENCES study (id), 
	CONSTRAINT uq_job_fingerprint_run_number UNIQUE (fingerprint, run_number)
);
INSERT INTO "job" VALUES('x',1,7,'x','x','x','x','x','x','x','x',7,'"x"','"x"',1,7,'x',1.5,1.5,1.5,1.5,'"x"');
CREATE TABLE job_clinical (
	job_id VARCHAR(32) NOT NULL, 
	document JSON NOT NULL, 
	CONSTRAINT pk_job_clinical PRIMARY KEY (job_id), 
	CONSTRAINT fk_job_clinical_job_id FOREIGN KEY(job_id) REFERENCES job (id)
);
INSERT INTO "job_clinical" VALUES('x','"x"');
CREATE TABLE leader (
	name VARCHAR(32) NOT NULL, 
	owner VARCHAR(80) NOT NULL, 
	lease_until FLOAT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (name)
);
INSERT INTO "leader" VALUES('x','x',1.5);
CREATE TABLE own_uid (
	sop_instance_uid VARCHAR(64) NOT NULL, 
	at FLOAT NOT NULL, 
	CONSTRAINT pk_own_uid PRIMARY KEY (sop_instance_uid)
);
INSERT INTO "own_uid" VALUES('x',1.5);
CREATE TABLE plugin_switch (
	plugin VARCHAR(64) NOT NULL, 
	off BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	CONSTRAINT pk_plugin_switch PRIMARY KEY (plugin)
);
INSERT INTO "plugin_switch" VALUES('x',1,'x',1.5);
CREATE TABLE prior (
	job_id VARCHAR(32) NOT NULL, 
	patient_id TEXT NOT NULL, 
	issuer_of_patient_id TEXT NOT NULL, 
	study_date VARCHAR(16) NOT NULL, 
	study_time VARCHAR(24) NOT NULL, 
	series_description TEXT NOT NULL, 
	findings JSON NOT NULL, 
	CONSTRAINT pk_prior PRIMARY KEY (job_id), 
	CONSTRAINT fk_prior_job_id FOREIGN KEY(job_id) REFERENCES job (id)
);
INSERT INTO "prior" VALUES('x','x','x','x','x','x','"x"');
CREATE TABLE quarantine (
	id INTEGER NOT NULL, 
	received_at FLOAT NOT NULL, 
	code VARCHAR(40) NOT NULL, 
	sentence TEXT NOT NULL, 
	path TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	sop_instance_uid VARCHAR(64) NOT NULL, 
	sop_class_uid VARCHAR(64) NOT NULL, 
	study_instance_uid VARCHAR(64) NOT NULL, 
	calling_ae VARCHAR(16) NOT NULL, 
	called_ae VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_quarantine PRIMARY KEY (id), 
	CONSTRAINT uq_quarantine_path UNIQUE (path)
);
INSERT INTO "quarantine" VALUES(1,1.5,'x','x','x','x',7,'x','x','x','x','x');
CREATE TABLE refusal_note (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	code VARCHAR(40) NOT NULL, 
	sentence TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	next_look_at FLOAT NOT NULL, 
	CONSTRAINT pk_refusal_note PRIMARY KEY (id), 
	CONSTRAINT fk_refusal_note_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT uq_refusal_note_job_id_attempt UNIQUE (job_id, attempt)
);
INSERT INTO "refusal_note" VALUES(1,'x',7,'x','x','x',1.5,1.5);
CREATE TABLE series (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	series_instance_uid VARCHAR(64) NOT NULL, 
	modality VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_series PRIMARY KEY (id), 
	CONSTRAINT fk_series_study_id FOREIGN KEY(study_id) REFERENCES study (id), 
	CONSTRAINT uq_series_study_id_series_instance_uid UNIQUE (study_id, series_instance_uid)
);
INSERT INTO "series" VALUES(1,1,'x','x');
CREATE TABLE study (
	id INTEGER NOT NULL, 
	study_instance_uid VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	revision INTEGER NOT NULL, 
	first_received_at FLOAT NOT NULL, 
	last_received_at FLOAT NOT NULL, 
	last_image_at FLOAT NOT NULL, 
	completed_at FLOAT, 
	completed_reason TEXT NOT NULL, 
	calling_ae VARCHAR(16) NOT NULL, 
	called_ae VARCHAR(16) NOT NULL, 
	peer VARCHAR(64) NOT NULL, 
	archive_counts JSON, 
	archive_counted_at FLOAT, 
	archive_equal_since FLOAT, 
	CONSTRAINT pk_study PRIMARY KEY (id), 
	CONSTRAINT uq_study_study_instance_uid UNIQUE (study_instance_uid)
);
INSERT INTO "study" VALUES(1,'x','x',7,1.5,1.5,1.5,1.5,'x','x','x','x','"x"',1.5,1.5);
CREATE TABLE withdrawal (
	id INTEGER NOT NULL, 
	delivery_id INTEGER NOT NULL, 
	requested_at FLOAT NOT NULL, 
	reason TEXT NOT NULL, 
	see TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	means VARCHAR(16) NOT NULL, 
	note_id INTEGER, 
	next_look_at FLOAT NOT NULL, 
	looked_at FLOAT, 
	sentence TEXT NOT NULL, 
	done_at FLOAT, 
	CONSTRAINT pk_withdrawal PRIMARY KEY (id), 
	CONSTRAINT fk_withdrawal_delivery_id FOREIGN KEY(delivery_id) REFERENCES delivery (id), 
	CONSTRAINT fk_withdrawal_note_id FOREIGN KEY(note_id) REFERENCES evidence (id), 
	CONSTRAINT uq_withdrawal_delivery_id UNIQUE (delivery_id)
);
INSERT INTO "withdrawal" VALUES(1,1,1.5,'x','x','x','x',1,1.5,1.5,'x',1.5);
CREATE INDEX ix_study_state_last ON study (state, last_received_at);
CREATE INDEX ix_decision_study ON decision (study_id, study_revision);
CREATE INDEX ix_job_state_created ON job (state, created_at);
CREATE INDEX ix_job_study ON job (study_id);
CREATE INDEX ix_instance_series ON instance (series_id);
CREATE INDEX ix_instance_study_state ON instance (study_id, state);
CREATE INDEX ix_delivery_job ON delivery (job_id);
CREATE INDEX ix_delivery_state_next ON delivery (state, next_attempt_at);
CREATE INDEX ix_delivery_proven ON delivery (proven_at);
CREATE INDEX ix_withdrawal_state ON withdrawal (state, next_look_at);
CREATE INDEX ix_prior_patient ON prior (patient_id, issuer_of_patient_id);
CREATE INDEX ix_clinical_value_study ON clinical_value (study_id, name);
COMMIT;
