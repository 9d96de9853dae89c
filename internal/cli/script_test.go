package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"kdistill/internal/testutil"
)

// TestMain makes the command line a command of the scripts. It ends by writing its exit code to stderr, as "[exit 2]".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kdistill": func() {
		code := Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
		fmt.Fprintf(os.Stderr, "[exit %d]\n", code)
		os.Exit(code)
	}})
}

// TestScripts runs testdata/*.txtar. $MODELS holds the golden models, $HF_ENDPOINT is a hub that has org/tiny and org/slow, $TEACHER a server's model.
func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// TestSharedScripts runs testdata/shared/*.txtar, which use real models and data in $SHARED.
func TestSharedScripts(t *testing.T) {
	testutil.Shared(t, "models/stories260k")
	runScripts(t, filepath.Join("testdata", "shared"))
}

func runScripts(t *testing.T, dir string) {
	models := testutil.Testdata(t, "golden/models")
	shared := ""
	if dir != "testdata" {
		shared = filepath.Dir(testutil.Shared(t, "models"))
	}
	testscript.Run(t, testscript.Params{
		Dir: dir, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			h := newHub(t, filepath.Join(models, "qwen2"))
			e.Defer(h.close)
			e.Values["hub"] = h
			e.Setenv("MODELS", models)
			e.Setenv("SHARED", shared)
			e.Setenv("HF_ENDPOINT", h.server.URL)
			parrot := newParrot()
			e.Defer(parrot.Close)
			e.Setenv("TEACHER", parrot.URL+"/v1")
			e.Setenv("HF_HOME", filepath.Join(e.WorkDir, "hf"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"interrupt": interrupt},
	})
}

// newParrot serves a model by the API of OpenAI: it says what it is told.
func newParrot() *httptest.Server {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	type object = map[string]any
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { reply(w, object{"data": []object{{"id": "parrot"}}}) })
	mux.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Prompt string }
		_ = json.NewDecoder(r.Body).Decode(&q)
		reply(w, object{"choices": []object{{"text": " said " + q.Prompt, "finish_reason": "stop"}}, "usage": object{"prompt_tokens": 1, "completion_tokens": 2}})
	})
	return httptest.NewServer(mux)
}

// hub is a Hugging Face hub with one model under two names; of org/slow the weights never come.
type hub struct {
	server  *httptest.Server
	asked   chan struct{} // somebody waits for org/slow
	closing chan struct{}
}

func newHub(t testing.TB, dir string) *hub {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	type lfs struct {
		Hash string `json:"sha256"`
		Size int    `json:"size"`
	}
	type file struct {
		Name string `json:"rfilename"`
		LFS  lfs    `json:"lfs"`
	}
	var files []file
	for _, name := range []string{"config.json", "generation_config.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		files = append(files, file{name, lfs{hex.EncodeToString(sum[:]), len(data)}})
	}
	h := &hub{asked: make(chan struct{}), closing: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/models/org/{name}/revision/main", func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("name"); name != "tiny" && name != "slow" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": files})
	})
	mux.HandleFunc("GET /org/{name}/resolve/"+commit+"/{file}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "slow" && strings.HasSuffix(r.PathValue("file"), ".safetensors") {
			close(h.asked)
			select {
			case <-r.Context().Done():
			case <-h.closing:
			}
			return
		}
		http.ServeFile(w, r, filepath.Join(dir, r.PathValue("file")))
	})
	h.server = httptest.NewServer(mux)
	return h
}

func (h *hub) close() {
	close(h.closing)
	h.server.Close()
}

// interrupt waits until org/slow is asked for and sends an interrupt to the background command.
func interrupt(ts *testscript.TestScript, _ bool, _ []string) {
	<-ts.Value("hub").(*hub).asked
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(os.Interrupt))
	}
}
