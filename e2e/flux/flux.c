// A stand-in for libflux, the part of Flux that is written in Rust. Kapacitor's
// server links it for Flux tasks, from v1.6 on; no test here has one, so all
// that is left to do is to let the server start.
//
// It does without flux.h: what the functions take and return differs from one
// release of Flux to the next, and all but one are never called or do nothing.

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define UNSUPPORTED(name) \
	void name(void) { \
		fprintf(stderr, #name ": Flux is not part of this build of kapacitord\n"); \
		abort(); \
	}
#define NOTHING(name) void name(void) {}

struct flux_buffer_t {
	char *data;
	size_t len;
};

// An empty type environment, as a flatbuffer: the root table at byte 8 has the
// vtable at byte 4, which is 4 bytes long and names no field.
static char empty_env[] = {8, 0, 0, 0, 4, 0, 4, 0, 4, 0, 0, 0};

// The server asks for this one at start.
void flux_get_env_stdlib(struct flux_buffer_t *buf) {
	buf->data = empty_env;
	buf->len = sizeof empty_env;
}

NOTHING(flux_free_error)
NOTHING(flux_free_bytes)
NOTHING(flux_free_ast_pkg)
NOTHING(flux_free_semantic_pkg)
NOTHING(flux_free_semantic_analyzer)
NOTHING(flux_free_stateful_analyzer)

UNSUPPORTED(flux_analyze)
UNSUPPORTED(flux_analyze_with)
UNSUPPORTED(flux_ast_format)
UNSUPPORTED(flux_ast_get_error)
UNSUPPORTED(flux_ast_marshal_fb)
UNSUPPORTED(flux_ast_marshal_json)
UNSUPPORTED(flux_error_print)
UNSUPPORTED(flux_error_str)
UNSUPPORTED(flux_find_var_type)
UNSUPPORTED(flux_merge_ast_pkgs)
UNSUPPORTED(flux_new_semantic_analyzer)
UNSUPPORTED(flux_new_stateful_analyzer)
UNSUPPORTED(flux_parse)
UNSUPPORTED(flux_parse_json)
UNSUPPORTED(flux_semantic_marshal_fb)
UNSUPPORTED(flux_semantic_packages)
