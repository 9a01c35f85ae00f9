import Glibc
import Primitives
import RESPFront
import Synchronization
import TieredStore

/// Keeps the process within `maxmemory`: what the store may take is what is left beside the
/// program itself, client buffers and whatever the kernel accounts that nobody counted.
final class MemoryBudget: @unchecked Sendable {
    private let configuration: Configuration
    private let store: Store
    private let statm: Int32
    /// RSS of the started server before it holds a key.
    private let baselineBytes = Atomic<Int>(0)
    /// What RSS was above the limit, and has not been below it since.
    private var correction = 0

    init(configuration: Configuration, store: Store) {
        self.configuration = configuration
        self.store = store
        statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    }

    static var machineBytes: Int { sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)) }

    /// Bytes the process may use: `maxmemory`, or 80 % of the machine.
    static func processLimit(_ configuration: Configuration, machineBytes: Int = machineBytes) -> Int {
        configuration.maxmemory > 0 ? configuration.maxmemory : machineBytes / 10 * 8
    }

    func residentSetSize() -> Int {
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { buffer in
            let count = pread(statm, buffer.baseAddress!, 127, 0)
            guard count > 0 else { return 0 }
            // Second number: resident pages.
            let fields = ByteView(UnsafeRawPointer(buffer.baseAddress!), count).text.split(separator: " ")
            return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * 4096
        }
    }

    /// Takes what the process has now for what it has without keys.
    func baseline() { baseline(resident: residentSetSize()) }

    func baseline(resident: Int) {
        baselineBytes.store(resident, ordering: .relaxed)
        adjust(clientBytes: 0)
    }

    /// Sets what the store may take. Called by one loop, several times a second.
    func adjust(clientBytes: Int) { adjust(clientBytes: clientBytes, resident: residentSetSize()) }

    func adjust(clientBytes: Int, resident: Int) {
        let limit = MemoryBudget.processLimit(configuration)
        if resident > limit {
            correction = min(limit / 4, correction + (resident - limit))
        } else if correction > 0, resident < limit / 100 * 97 {
            correction -= min(correction, limit / 1000)
        }
        let free = limit - baselineBytes.load(ordering: .relaxed) - limit / 100
        let left = min(max(limit / 4, free - clientBytes - correction), store.options.memoryLimitMax)
        store.ledger.limit = left
        store.ledger.lent = min(max(limit / 4, free), store.options.memoryLimitMax) - left
    }
}
