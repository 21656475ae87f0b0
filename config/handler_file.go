package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/regularfile"
	"bigpanda-udf/udf"

	"github.com/influxdata/influxql"
	"go.yaml.in/yaml/v3"
)

// HandlerKind is what Kapacitor calls its BigPanda handler, in this case only.
const HandlerKind = "bigpanda"

var (
	handlerKeys = []string{"id", "topic", "kind", "match", "options"}
	// handlerOptions are the native handler's, which takes them in any case, and
	// InfluxData's pages write some of them in camel case; and then those of ours.
	handlerOptions = []string{"app-key", "url", "host", "primary-property", "secondary-property", "attributes",
		"incident-identifier", "info-status", "auto-attributes", "resend-after", "resolve-after", "max-age"}
)

// A TopicHandler is what a handler file says of the topic.
type TopicHandler struct {
	Topic string `yaml:"topic"`
	ID    string `yaml:"id"`
	Match string `yaml:"match,omitempty"`
}

// ReadTopicHandler reads the file of a topic handler that is to be replaced, which is
// right in all that it says.
func ReadTopicHandler(path string) (h TopicHandler, err error) {
	err = readFile(path, func(file map[string]any) error {
		spec, err := canonical(file, handlerKeys, "key")
		if err != nil {
			return err
		}
		for name, text := range map[string]*string{"topic": &h.Topic, "id": &h.ID, "match": &h.Match} {
			var ok bool
			if *text, ok = spec[name].(string); !ok && spec[name] != nil {
				return fmt.Errorf("%s is not a text: put its value %s in quotes", name, jsonText(spec[name]))
			}
		}
		switch {
		case h.Topic == "":
			return errors.New("topic is missing: write topic: with the name of the topic")
		case h.ID == "":
			return errors.New("id is missing: write id: with the one that the handler was defined with")
		}
		delete(spec, "match")
		_, err = readHandler(path, spec, new(udf.Defaults))
		return err
	})
	return h, err
}

// TopicDefaults reads the options of a topic handler from its file. What the file
// does not say of app key and auto-attributes, the settings do.
func (s Settings) TopicDefaults(path string) (udf.Defaults, error) {
	s.Where = make(map[string]string)
	url := s.URL
	s.Defaults = udf.Defaults{AppKey: s.Defaults.AppKey, AutoAttributes: s.Defaults.AutoAttributes}
	err := readFile(path, func(file map[string]any) error {
		if match, _ := canonical(file, handlerKeys, "key"); match["match"] != nil && match["match"] != "" {
			return errors.New("match belongs into the post handler, which bigpanda-udf topic-handler prints: remove it here")
		}
		l, err := readHandler(path, file, &s.Defaults)
		if err != nil {
			return err
		}
		if err := s.apply([]layer{l}); err != nil {
			return err
		}
		if s.URL != url {
			return errors.New("option url is not that of the daemon, which has one for all: remove it, or start another daemon with --url")
		}
		return s.Defaults.CheckTopic()
	})
	return s.Defaults, err
}

// readHandlerFile reads a Kapacitor handler file, YAML or JSON, into the
// defaults of the options. What the settings have too comes back as their
// layer.
func readHandlerFile(path string, d *udf.Defaults) (l layer, err error) {
	err = readFile(path, func(file map[string]any) error {
		l, err = readHandler(path, file, d)
		return err
	})
	return l, err
}

// readFile reads a handler file, and names it in whatever is wrong with it.
func readFile(path string, read func(file map[string]any) error) error {
	data, err := regularfile.Read(path, regularfile.MaxText)
	if err != nil {
		return fmt.Errorf("read handler file: %w: name a file that this user may read", err)
	}
	file, err := decodeHandler(path, data)
	if err == nil {
		err = read(file)
	}
	if err != nil {
		return fmt.Errorf("handler file %s: %w", path, err)
	}
	return nil
}

// decodeHandler goes by the file's extension as Kapacitor does, and by its
// first character where there is none.
func decodeHandler(path string, data []byte) (map[string]any, error) {
	var file map[string]any
	isJSON := strings.EqualFold(filepath.Ext(path), ".json")
	if filepath.Ext(path) == "" {
		isJSON = bytes.HasPrefix(bytes.TrimSpace(data), []byte("{"))
	}
	if isJSON {
		if err := json.Unmarshal(data, &file); err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		return file, nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("it is not YAML: %s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: "))
	}
	timesAsText(&document)
	if err := document.Decode(&file); err != nil {
		return nil, errors.New("it is not a handler: write kind: bigpanda, and options: below it")
	}
	return file, nil
}

// timesAsText has what looks like a date stay the text that it is.
func timesAsText(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		timesAsText(child)
	}
}

func readHandler(path string, file map[string]any, d *udf.Defaults) (layer, error) {
	spec, err := canonical(file, handlerKeys, "key")
	if err != nil {
		return nil, err
	}
	if kind, _ := spec["kind"].(string); kind != HandlerKind {
		return nil, fmt.Errorf("kind is %s: only kind: %s is for this program", jsonText(spec["kind"]), HandlerKind)
	}
	if match, ok := spec["match"]; ok && match != nil && match != "" {
		return nil, errors.New("match is not known here: remove it, and choose the points with |where() or the alert's own conditions in the TICKscript")
	}
	if spec["options"] == nil {
		return nil, nil
	}
	given, ok := spec["options"].(map[string]any)
	if !ok {
		return nil, errors.New("options is not a map: write option: value lines below it")
	}
	options, err := canonical(given, handlerOptions, "option")
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if v := options[name]; name != "attributes" && v != nil {
			if texts[name], ok = v.(string); !ok {
				return nil, fmt.Errorf("option %s is not a text: put its value %s in quotes", name, jsonText(v))
			}
		}
	}
	d.Host = texts["host"]
	d.PrimaryProperty, d.SecondaryProperty = texts["primary-property"], texts["secondary-property"]
	d.IncidentIdentifier, d.InfoStatus = texts["incident-identifier"], texts["info-status"]
	for name, at := range map[string]*time.Duration{"resend-after": &d.ResendAfter, "resolve-after": &d.ResolveAfter, "max-age": &d.MaxAge} {
		if text := texts[name]; text != "" {
			if *at, err = influxql.ParseDuration(text); err != nil || *at <= 0 {
				return nil, fmt.Errorf("option %s is %q: write a duration, such as 10m or 1d", name, text)
			}
		}
	}
	if d.Attributes, err = handlerAttributes(options["attributes"]); err != nil {
		return nil, err
	}
	l := make(layer)
	for _, name := range []string{"app-key", "url", "auto-attributes"} {
		if text, ok := texts[name]; ok {
			l[name] = value{text, fmt.Sprintf("option %s in %s", name, path)}
		}
	}
	return l, nil
}

// handlerAttributes returns the templates of the attributes. A value that is
// not a text is sent as its JSON text, as the native handler does, and is no
// template whatever it contains.
func handlerAttributes(v any) (map[string]string, error) {
	if v == nil {
		return nil, nil
	}
	given, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("option attributes is not a map: write name: value lines below it")
	}
	attributes := make(map[string]string)
	for name, v := range given {
		text, ok := v.(string)
		if !ok {
			text = strings.ReplaceAll(jsonText(v), "{{", "{{`{{`}}")
		}
		attributes[name] = text
	}
	return attributes, nil
}

// canonical returns the map with its keys as known spells them: case and
// hyphens do not count.
func canonical(given map[string]any, known []string, what string) (map[string]any, error) {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }
	found := make(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(known, func(k string) bool { return plain(k) == plain(key) })
		if i < 0 {
			return nil, fmt.Errorf("%s %q is unknown: %s", what, key, DidYouMean(key, known, "%s", "remove it"))
		}
		if _, twice := found[known[i]]; twice {
			return nil, fmt.Errorf("%s %s is given twice: keep one", what, known[i])
		}
		found[known[i]] = given[key]
	}
	return found, nil
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v) // such as a YAML map with keys that are no texts
	}
	return string(text)
}
