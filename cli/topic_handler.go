package cli

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"

	"bigpanda-udf/config"
	"bigpanda-udf/topic"

	"go.yaml.in/yaml/v3"
)

type topicHandlerFlags struct {
	File string `arg:"" help:"The handler file of kind bigpanda, NAME.yaml or NAME.json."`
	URL  string `name:"url" required:"" placeholder:"URL" help:"Where the daemon takes events (serve --http), such as http://127.0.0.1:9095."`
}

// Help is what kong prints above the flags.
func (topicHandlerFlags) Help() string {
	return `Prints the handler of kind post that sends a topic's events to the daemon, in the
place of the one of kind bigpanda that FILE is: same topic, id and match. As it has
the same id, defining it replaces the other one:

  bigpanda-udf topic-handler cpu.yaml --url http://127.0.0.1:9095 > /tmp/post.yaml
  kapacitor define-topic-handler /tmp/post.yaml

The name of FILE is the handler's own, which its alerts have as their task; FILE
itself, without match, belongs into the folder of serve --handlers.`
}

func (f *topicHandlerFlags) run(_ context.Context, p Process, _ *command) error {
	name := strings.TrimSuffix(filepath.Base(f.File), filepath.Ext(f.File))
	if err := topic.CheckName(name); err != nil {
		return usagef("%s: %w", f.File, err)
	}
	u, err := url.Parse(f.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return usagef("--url is %q: write the daemon's, such as http://127.0.0.1:9095", config.Shown(f.URL))
	}
	old, err := config.ReadTopicHandler(f.File)
	if err != nil {
		return usageError{err}
	}
	text, err := yaml.Marshal(struct {
		config.TopicHandler `yaml:",inline"`
		Kind                string            `yaml:"kind"`
		Options             map[string]string `yaml:"options"`
	}{old, "post", map[string]string{"url": u.JoinPath(topic.Path, name).String()}})
	if err != nil {
		return err
	}
	_, err = p.Stdout.Write(text)
	return err
}
