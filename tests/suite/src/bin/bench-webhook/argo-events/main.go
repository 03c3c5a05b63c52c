// The process of an Argo Events event source, without the rest of Argo Events.
package main

import eventsource "github.com/argoproj/argo-events/pkg/eventsources/cmd"

func main() {
	eventsource.Start()
}
