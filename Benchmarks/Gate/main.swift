import Glibc
import Workloads

/// What callgrind counts: `tools/gate` has it collect while this runs, and only then.
@inline(never)
func counted(_ body: Workload.Body, _ count: Int) { body(count) }

// usage: tiergate --list | tiergate NAME
let words = CommandLine.arguments
if words.count == 2, words[1] == "--list" {
    for workload in Workload.all { print(workload.name, workload.count, workload.summary) }
} else if words.count == 2, let workload = Workload.named(words[1]) {
    counted(workload.prepare(), workload.count)
} else {
    print("usage: tiergate --list | tiergate NAME")
    exit(2)
}
