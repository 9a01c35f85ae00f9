/// Clients that wait until some time, the earliest first: a binary heap. What has ended meanwhile is
/// passed over when its time comes.
struct DeadlineQueue {
    private var heap: [(time: Int64, waiter: Waiter)] = []

    var count: Int { heap.count }
    /// Unix milliseconds.
    var first: Int64? { heap.first?.time }

    mutating func add(_ waiter: Waiter, at time: Int64) {
        heap.append((time, waiter))
        var i = heap.count - 1
        while i > 0, heap[(i - 1) / 2].time > heap[i].time {
            heap.swapAt(i, (i - 1) / 2)
            i = (i - 1) / 2
        }
    }

    /// The waiter whose time came first, if it has come by `now`.
    mutating func pop(by now: Int64) -> Waiter? {
        guard let first = heap.first, first.time <= now else { return nil }
        let last = heap.removeLast()
        if heap.isEmpty { return first.waiter }
        heap[0] = last
        var i = 0
        while true {
            var least = i
            for child in 2 * i + 1...2 * i + 2 where child < heap.count {
                if heap[child].time < heap[least].time { least = child }
            }
            if least == i { return first.waiter }
            heap.swapAt(i, least)
            i = least
        }
    }
}
