package cli

import "bigpanda-udf/topic"

// handlerFiles looks at each file of the folder that serve --handlers is to have.
func (k *checkup) handlerFiles(s settings) {
	files, err := topic.Files(k.Handlers)
	if err != nil {
		k.fail("handlers", "", "%s", err)
		return
	}
	if len(files) == 0 {
		k.note("handlers", "put NAME.yaml there for each handler that has options of its own", "%s has no handler files", k.Handlers)
	}
	for _, f := range files {
		d, err := s.TopicDefaults(f.Path)
		if f.Err != nil {
			err = f.Err
		}
		if err != nil {
			k.fail("handler "+f.Name, "", "%s", err)
		} else {
			k.ok("handler "+f.Name, "%s, app key %s", f.Path, d.AppKey)
		}
	}
}
