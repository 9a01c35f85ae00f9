import Glibc
import Workloads

// What Benchmarks/Micro measures, behind C functions: it loads this library, because a package cannot depend
// on both ordo-one/benchmark and this one (swift-system, which the former needs, has a target CSystem too).

/// Something to measure.
private struct Subject: Sendable {
    let name: String
    /// Requests of one iteration.
    let requests: Int
    let prepare: @Sendable () -> Workload.Body
}

private let subjects: [Subject] = {
    var subjects = Workload.all.filter { !$0.name.hasPrefix("lookup") }.map { workload in
        Subject(name: workload.name, requests: 1600) { workload.prepare() }
    }
    for (name, inBatches) in [("lookup-dependent", false), ("lookup-batch", true)] {
        subjects.append(Subject(name: name, requests: 1600) {
            Workload.lookup(name, keys: 1_000_000, inBatches: inBatches).prepare()
        })
    }
    subjects.append(Subject(name: "ring-nop", requests: 1600) { RingTrip(.nothing).run })
    subjects.append(Subject(name: "ring-nop-batch", requests: 1600) { RingTrip(.nothing, depth: 16).run })
    subjects.append(Subject(name: "ring-read-4k", requests: 64) { RingTrip(.read).run })
    subjects.append(Subject(name: "ring-read-4k-batch", requests: 64) { RingTrip(.read, depth: 16).run })
    return subjects
}()

/// A prepared body; the caller holds it by pointer.
private final class Prepared {
    let body: Workload.Body
    init(_ body: @escaping Workload.Body) { self.body = body }
}

@_cdecl("micro_count")
public func count() -> Int { subjects.count }

/// The caller frees it.
@_cdecl("micro_name")
public func name(_ index: Int) -> UnsafeMutablePointer<CChar> { strdup(subjects[index].name) }

@_cdecl("micro_requests")
public func requests(_ index: Int) -> Int { subjects[index].requests }

/// To be run on this thread only, and ended with `micro_end`.
@_cdecl("micro_prepare")
public func prepare(_ index: Int) -> UnsafeMutableRawPointer {
    Unmanaged.passRetained(Prepared(subjects[index].prepare())).toOpaque()
}

@_cdecl("micro_run")
public func run(_ prepared: UnsafeMutableRawPointer, _ requests: Int) {
    Unmanaged<Prepared>.fromOpaque(prepared).takeUnretainedValue().body(requests)
}

@_cdecl("micro_end")
public func end(_ prepared: UnsafeMutableRawPointer) { Unmanaged<Prepared>.fromOpaque(prepared).release() }
