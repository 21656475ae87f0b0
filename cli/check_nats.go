package cli

import (
	"context"
	"log/slog"
	"time"
)

// natsAnswers is how long all the questions to the servers may take.
const natsAnswers = 15 * time.Second

// nats asks the servers, as far as that leads. Without a token this is a function, which
// publishes and does no more; with one it may be a deliverer.
func (k *checkup) nats(ctx context.Context, s settings) {
	conn, err := s.connectNATS(programName+" check", slog.New(slog.DiscardHandler))
	if err != nil {
		k.fail("nats", "", "%s", err)
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, natsAnswers)
	defer cancel()
	for _, f := range conn.Check(ctx, s.Token+s.TokenFile != "") {
		k.print(f.State, f.Check, f.Hint, "%s", []any{f.Text})
	}
}
