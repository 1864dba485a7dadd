package jenkinstest

import (
	"encoding/json"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
)

// buildForm is the json field of the parameter form (ParametersDefinitionProperty._doBuild).
type buildForm struct {
	Parameter  formParameters `json:"parameter"`
	StatusCode json.Number    `json:"statusCode"`
	RedirectTo string         `json:"redirectTo"`
}

// formParameters is a list, or an object in place of a list of one.
type formParameters []formParameter

type formParameter struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // text, or a boolean
}

// UnmarshalJSON reads either form.
func (p *formParameters) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		*p = make([]formParameter, 1)
		return json.Unmarshal(b, &(*p)[0])
	}
	return json.Unmarshal(b, (*[]formParameter)(p))
}

// known tells whether all parameters are the job's.
func (f *buildForm) known(definitions []parameterDefinition) bool {
	for _, p := range f.Parameter {
		if !slices.ContainsFunc(definitions, func(d parameterDefinition) bool { return d.Name == p.Name }) {
			return false
		}
	}
	return true
}

// status is 201 unless the form asks for another redirect.
func (f *buildForm) status() int {
	if n, err := f.StatusCode.Int64(); err == nil && n >= 200 && n < 400 {
		return int(n)
	}
	return http.StatusCreated
}

// submittedForm is StaplerRequest.getSubmittedForm: the field named json, of a multipart form too. It reports whether
// to go on.
func (x *exchange) submittedForm(form *buildForm) bool {
	mediaType, parameters, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	multi := strings.HasPrefix(mediaType, "multipart/")
	submitted := x.param("json")
	if multi {
		submitted = formField(x.body.Bytes(), parameters["boundary"], "json")
	}
	switch {
	case x.r.Method != http.MethodPost:
		x.sendError(http.StatusBadRequest, "Form submission expected but a "+x.r.Method+" request was sent")
	case submitted == "" && (multi || len(x.params) > 0):
		x.sendError(http.StatusBadRequest, "This page expects a form submission")
	case submitted == "":
		x.sendError(http.StatusBadRequest, "Nothing is submitted")
	case json.Unmarshal([]byte(submitted), form) != nil:
		x.oops()
	default:
		return true
	}
	return false
}

// formField returns a field of a multipart body, or "".
func formField(body []byte, boundary, name string) string {
	form, err := multipart.NewReader(strings.NewReader(string(body)), boundary).ReadForm(maxBody)
	if err != nil {
		return ""
	}
	defer form.RemoveAll()
	if values := form.Value[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
