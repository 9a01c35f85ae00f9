import TieredStore

/// Where the process's RAM goes, in bytes. Read while the world is stopped.
struct MemoryFacts {
    /// What the store has taken, and clients.
    let used: Int
    let peak: Int
    let clients: Int
    /// Lua's states and texts, of scripts and of functions.
    let scriptMachines: Int
    let functionMachines: Int
    let scripts: Int
    let functions: Int
    /// In cells in use, and in all cells held.
    let live: Int
    let held: Int
    let resident: Int

    init(_ server: ServerState) {
        let ledger = server.store.ledger, slabs = server.store.slabUsage
        clients = server.sessions.reduce(0) { $0 + $1.memory }
        scriptMachines = server.fronts.reduce(0) { $0 + $1.scripts.scriptMemory }
        functionMachines = server.fronts.reduce(0) { $0 + $1.scripts.functionMemory }
        scripts = server.scripts.bytes
        functions = server.libraries.bytes
        used = ledger.used + clients + scriptMachines + functionMachines + scripts + functions
        server.peakBytes = max(server.peakBytes, used, ledger.peak)
        peak = server.peakBytes
        live = slabs.live
        held = slabs.held
        resident = server.residentSetSize()
    }

    /// What is not entries: index, buffers of clients, room in slabs.
    var overhead: Int { max(0, used - live) }
    var dataset: Int { max(0, used - overhead) }

    func share(_ part: Int, of whole: Int) -> Double {
        whole == 0 ? 0 : Double(part) / Double(whole)
    }
}
