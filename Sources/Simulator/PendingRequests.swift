import Primitives
import TieredStore

/// Disk requests on their way: they end late, and in any order.
struct PendingRequests {
    struct Item {
        let request: DiskRequest
        /// Turn in which it was asked for.
        let begun: Int
        fileprivate let due: Int
    }

    private(set) var items: [Item] = []
    private(set) var turn = 0

    var isEmpty: Bool { items.isEmpty }

    /// `delay`: most turns it waits.
    mutating func add(_ request: DiskRequest, delay: Int, _ random: inout Random) {
        items.append(Item(request: request, begun: turn, due: turn + Int(random.below(UInt64(delay)))))
    }

    /// Begins another turn: those that end in it.
    mutating func advance() -> [Item] {
        turn += 1
        let ended = items.filter { $0.due <= turn }
        items.removeAll { $0.due <= turn }
        return ended
    }
}
