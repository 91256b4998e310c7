package main

import (
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
)

// serve is the system under test: a map behind HTTP, in memory only.
func serve(addr string) error {
	var mu sync.Mutex
	data := map[string]any{}
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q request
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		before := data[q.Key]
		swapped := q.Op == "write" || q.Op == "cas" && reflect.DeepEqual(before, q.Old)
		if swapped {
			data[q.Key] = q.New
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Value": before, "Swapped": swapped})
	}))
}
