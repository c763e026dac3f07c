//go:build linux

package main

import (
	_ "embed"
	"html/template"
	"strings"
)

//go:embed page.html
var pageText string

// page is one file that needs no other: styles and plots are in it, and no script.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"colour": colour,
	"plain": func(text string) template.HTML { // the stars of Markdown, in texts of ours
		parts := strings.Split(text, "*")
		for i, p := range parts {
			parts[i] = template.HTMLEscapeString(p)
			if i%2 == 1 {
				parts[i] = "<em>" + parts[i] + "</em>"
			}
		}
		return template.HTML(strings.Join(parts, ""))
	},
}).Parse(pageText))

// section is a case in the page.
type section struct {
	Title    string
	Table    table
	Failures []string
}

func (r *report) html() (string, error) {
	var sections []section
	for _, at := range r.measured() {
		sections = append(sections, section{at.title(), r.caseTable(at), r.failures(at)})
	}
	var b strings.Builder
	err := page.Execute(&b, map[string]any{
		"Title": r.title(), "Method": r.method(), "Facts": r.Facts, "Bars": r.barTable(), "Judged": len(r.Bars) > 0,
		"BarsText": r.barsText(), "Texts": r.texts(), "Notes": r.Notes,
		"Plots": r.plots(), "Sections": sections, "Contenders": r.Contenders,
	})
	return b.String(), err
}
