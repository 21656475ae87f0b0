package cli

import (
	"fmt"
	"log/slog"
	"slices"

	"bigpanda-udf/daemon"
	"bigpanda-udf/outbox"
	"bigpanda-udf/topic"
	"bigpanda-udf/udf"
)

// access is who may post events, as the flags say.
func (f *serveFlags) access(hidden *secrets) topic.Access {
	return topic.Access{
		Hosts: hostNames(f.HTTP), TokenFile: f.HTTPTokenFile, OnToken: func(token string) { hidden.add(token) },
		Certificate: f.HTTPCert, Key: f.HTTPKey,
	}
}

// checkHandlers finds flags that mean nothing, and a folder that cannot be read.
func (f *serveFlags) checkHandlers(sockets []daemon.Socket) error {
	isHTTP := slices.ContainsFunc(sockets, func(s daemon.Socket) bool { return s.Edge == daemon.HTTP })
	for flag, value := range map[string]string{
		"http-token-file": f.HTTPTokenFile, "http-cert": f.HTTPCert, "http-key": f.HTTPKey, "handlers": f.Handlers,
	} {
		if value != "" && !isHTTP {
			return usagef("--%s is for events of topics, and none are taken: set --http, or leave it out", flag)
		}
	}
	if f.Handlers == "" {
		return nil
	}
	if _, err := topic.Files(f.Handlers); err != nil {
		return usageError{fmt.Errorf("--handlers: %w", err)}
	}
	return nil
}

// topicOptions makes what takes events out of the settings.
func (a *deliveries) topicOptions(f *serveFlags) topic.Options {
	return topic.Options{
		Defaults: &a.settings.Defaults, Dir: f.Handlers, Read: a.settings.TopicDefaults,
		NewHandler: func(d udf.Defaults, log *slog.Logger) (*udf.Handler, func()) {
			s := a.settings
			s.Defaults = d
			return s.newHandler(func(u udf.Use) (*delivery, error) {
				return a.open(u, outbox.Options{LeaveOrphans: true}, log.With("handler", u.Task))
			}, nil, log)
		},
		Access: f.access(a.settings.hidden), Log: a.log,
	}
}
