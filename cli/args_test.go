package cli

import (
	"reflect"
	"slices"
	"testing"

	"bigpanda-udf/config"
)

// Each setting is a flag of function mode, and each of its flags a setting.
func TestFlagsAreSettings(t *testing.T) {
	t.Parallel()
	k, err := newParser(Process{LookupEnv: environment(nil)}, new(command), commands)
	if err != nil {
		t.Fatal(err)
	}
	var flags, settings []string
	for _, f := range childNamed(k.Model.Node, functionNode).Flags {
		flags = append(flags, f.Name)
	}
	for _, row := range config.Table {
		settings = append(settings, row.Name)
	}
	slices.Sort(flags)
	slices.Sort(settings)
	if !slices.Equal(flags, settings) {
		t.Errorf("the flags are %v, the settings %v", flags, settings)
	}
}

func TestFlagsReachSettings(t *testing.T) {
	t.Parallel()
	for _, row := range config.Table {
		name, text := row.Name, "x"
		if row.Placeholder == "" {
			text = "false"
		}
		c, err := parse(Process{Args: []string{"--" + name + "=" + text}, LookupEnv: environment(nil)})
		if want := map[string]string{name: text}; err != nil || !reflect.DeepEqual(c.flags, want) {
			t.Errorf("--%s=%s is read as %v (%v)", name, text, c.flags, err)
		}
	}
	c, err := parse(Process{Args: []string{"--insecure-skip-verify", "--enabled"}, LookupEnv: environment(nil)})
	if want := map[string]string{"insecure-skip-verify": "true", "enabled": "true"}; err != nil || !reflect.DeepEqual(c.flags, want) {
		t.Errorf("flags without a value are read as %v (%v)", c.flags, err)
	}
}
