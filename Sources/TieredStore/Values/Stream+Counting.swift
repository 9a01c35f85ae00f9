import Primitives

// How far a group is behind, without counting.
extension ConsumerGroup {
    /// The group has been given `id`. Source: Redis 7.0 streamReplyWithRange.
    public func advance(to id: StreamID, in stream: Stream) {
        guard id > lastID else { return }
        if let read = entriesRead, !stream.hasTombstones(from: id) {
            entriesRead = read + 1
        } else if stream.entriesAdded > 0 {
            entriesRead = stream.distance(to: id)
        }
        lastID = id
    }

    /// Entries the group has still to be given; nil when that cannot be told.
    public func lag(in stream: Stream) -> Int64? {
        if stream.entriesAdded == 0 { return 0 }
        if let read = entriesRead, !stream.hasTombstones(from: lastID) {
            return Int64(stream.entriesAdded) - read
        }
        return stream.distance(to: lastID).map { Int64(stream.entriesAdded) - $0 }
    }
}

extension Stream {
    /// Whether something behind `id` was deleted.
    func hasTombstones(from id: StreamID) -> Bool {
        length > 0 && maxDeletedID != .zero && id <= maxDeletedID
    }

    /// How many entries were ever added up to `id`; nil when that cannot be told.
    /// Source: Redis 7.0 streamEstimateDistanceFromFirstEverEntry.
    func distance(to id: StreamID) -> Int64? {
        if entriesAdded == 0 { return 0 }
        let added = Int64(entriesAdded)
        if length == 0, id <= lastID { return added }
        if id == lastID { return added }
        if id > lastID { return nil }
        let first = firstID
        guard maxDeletedID == .zero || maxDeletedID < first else { return nil }
        if id < first { return added - Int64(length) }
        return id == first ? added - Int64(length) + 1 : nil
    }
}
