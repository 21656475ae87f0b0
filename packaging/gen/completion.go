package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// A completion is a shell's, from the pages of all commands.
var completions = map[string]string{
	"bigpanda-udf.bash": `# Completion of bigpanda-udf for bash, made from its help.
_bigpanda_udf() {
	local command=bigpanda-udf commands flags i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case "$command ${COMP_WORDS[i]}" in
{{- range .}}{{range .Commands}}
		'{{join .Path " "}}') command='{{join .Path " "}}' ;;
{{- end}}{{end}}
		esac
	done
	case $command in
{{- range .}}
	'{{join .Path " "}}')
		commands='{{range .Commands}}{{last .Path}} {{end}}'
		flags='{{range .Flags}}--{{.Name}} {{end}}'
		;;
{{- end}}
	esac
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	case = in # which is a word of its own
	"$word") word= ;;
	"$before") before=${COMP_WORDS[COMP_CWORD - 2]} ;;
	esac
	COMPREPLY=() # then bash offers files
	case "$command $before" in
{{- range $page := .}}{{range .Flags}}{{if .Values}}
	'{{join $page.Path " "}} --{{.Name}}') COMPREPLY=($(compgen -W '{{join .Values " "}}' -- "$word")) ;;
{{- end}}{{end}}{{end}}
	*)
		case $word in
		-*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
		*) [[ $before == -* ]] || COMPREPLY=($(compgen -W "$commands" -- "$word")) ;;
		esac
		;;
	esac
}
complete -o default -F _bigpanda_udf bigpanda-udf
`,
	"_bigpanda-udf": `#compdef bigpanda-udf
# Completion of bigpanda-udf for zsh, made from its help.
{{range .}}
_{{join .Path "_"}}() {
{{- if .Commands}}
	local -a commands=(
{{- range .Commands}}
		{{quote (print (last .Path) ":" .Summary)}}
{{- end}}
	)
	case ${words[2]} in
{{- range .Commands}}
	{{last .Path}})
		shift words
		((CURRENT--))
		_{{join .Path "_"}}
		return
		;;
{{- end}}
	esac
{{- end}}
	_arguments \
{{- range .Flags}}
		{{quote (print "--" .Name (zshHelp .))}} \
{{- end}}
{{- if .Commands}}
		'1: :{_describe command commands}'
{{- else}}
		'*:file:_files'
{{- end}}
}
{{end}}
_bigpanda-udf "$@"
`,
	"bigpanda-udf.fish": `# Completion of bigpanda-udf for fish, made from its help.
{{range .}}{{$when := fishWhen .}}
{{- range .Commands}}
complete -c bigpanda-udf -n {{$when}} -f -a {{last .Path}} -d {{quote .Summary}}
{{- end}}
{{- range .Flags}}
complete -c bigpanda-udf -n {{$when}} -l {{.Name}}{{if .Values}} -x -a {{quote (join .Values " ")}}{{else if not .Bool}} -r{{end}} -d {{quote .Help}}
{{- end}}
{{end}}`,
}

func writeCompletions(folder string) error {
	program, err := pages()
	if err != nil {
		return err
	}
	for name, text := range completions {
		var out bytes.Buffer
		err := template.Must(template.New(name).Funcs(shellFunctions).Parse(text)).Execute(&out, program.all())
		if err := errors.Join(err, os.WriteFile(filepath.Join(folder, name), out.Bytes(), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

var shellFunctions = template.FuncMap{
	"join":     strings.Join,
	"last":     func(path []string) string { return path[len(path)-1] },
	"quote":    func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" },
	"zshHelp":  zshHelp,
	"fishWhen": fishWhen,
}

// zshHelp is what follows a flag's name in a specification of _arguments.
func zshHelp(f flag) string {
	help := "[" + strings.NewReplacer(`[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(f.Help) + "]"
	if f.Bool {
		return help
	}
	action := "_files"
	if f.Values != nil {
		action = "(" + strings.Join(f.Values, " ") + ")"
	}
	return "=" + help + ":" + strings.ReplaceAll(f.Placeholder, ":", `\:`) + ":" + action
}

// fishWhen is the condition under which a command was typed, and none below it.
func fishWhen(p page) string {
	var tests []string
	for _, name := range p.Path[1:] {
		tests = append(tests, "__fish_seen_subcommand_from "+name)
	}
	if len(p.Commands) > 0 {
		below := ""
		for _, c := range p.Commands {
			below += " " + c.Path[len(c.Path)-1]
		}
		tests = append(tests, "not __fish_seen_subcommand_from"+below)
	}
	return "'" + strings.Join(tests, "; and ") + "'"
}
