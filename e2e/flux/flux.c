// A stand-in for libflux, the part of Flux that is written in Rust. Kapacitor's
// server links it for Flux tasks; no test here has one, so all that is left to
// do is to let the server start.

#include <stdio.h>
#include <stdlib.h>

#include "influxdata/flux.h"

static void unsupported(const char *name) {
	fprintf(stderr, "%s: Flux is not part of this build of kapacitord\n", name);
	abort();
}

// An empty type environment, as a flatbuffer: the root table at byte 8 has the
// vtable at byte 4, which is 4 bytes long and names no field.
static char empty_env[] = {8, 0, 0, 0, 4, 0, 4, 0, 4, 0, 0, 0};

// The server asks for this one at start.
void flux_get_env_stdlib(struct flux_buffer_t *buf) {
	buf->data = empty_env;
	buf->len = sizeof empty_env;
}

void flux_free_error(struct flux_error_t *err) { (void)err; }
void flux_free_bytes(const char *p) { (void)p; }
void flux_free_ast_pkg(struct flux_ast_pkg_t *pkg) { (void)pkg; }
void flux_free_semantic_pkg(struct flux_semantic_pkg_t *pkg) { (void)pkg; }
void flux_free_stateful_analyzer(struct flux_stateful_analyzer_t *a) { (void)a; }

#define UNSUPPORTED(type, name, ...) \
	type name(__VA_ARGS__) { unsupported(#name); return 0; }

#pragma GCC diagnostic ignored "-Wunused-parameter"
void flux_semantic_packages(struct flux_buffer_t *b) { unsupported(__func__); }
void flux_error_print(struct flux_error_t *e) { unsupported(__func__); }
UNSUPPORTED(const char *, flux_error_str, struct flux_error_t *e)
UNSUPPORTED(struct flux_ast_pkg_t *, flux_parse, const char *file, const char *src)
UNSUPPORTED(struct flux_error_t *, flux_ast_format, struct flux_ast_pkg_t *p, struct flux_buffer_t *b)
UNSUPPORTED(struct flux_error_t *, flux_ast_get_error, struct flux_ast_pkg_t *p, const char *o)
UNSUPPORTED(struct flux_error_t *, flux_merge_ast_pkgs, struct flux_ast_pkg_t *p, struct flux_ast_pkg_t *q)
UNSUPPORTED(struct flux_error_t *, flux_parse_json, const char *s, struct flux_ast_pkg_t **p)
UNSUPPORTED(struct flux_error_t *, flux_ast_marshal_json, struct flux_ast_pkg_t *p, struct flux_buffer_t *b)
UNSUPPORTED(struct flux_stateful_analyzer_t *, flux_new_stateful_analyzer, const char *o)
UNSUPPORTED(struct flux_error_t *, flux_analyze_with, struct flux_stateful_analyzer_t *a, const char *s, struct flux_ast_pkg_t *p, struct flux_semantic_pkg_t **q)
UNSUPPORTED(struct flux_error_t *, flux_analyze, struct flux_ast_pkg_t *p, const char *o, struct flux_semantic_pkg_t **q)
UNSUPPORTED(struct flux_error_t *, flux_find_var_type, struct flux_semantic_pkg_t *p, const char *n, struct flux_buffer_t *b)
UNSUPPORTED(struct flux_error_t *, flux_semantic_marshal_fb, struct flux_semantic_pkg_t *p, struct flux_buffer_t *b)
