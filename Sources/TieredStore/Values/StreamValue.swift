import Primitives

extension StagedKeys {
    /// The stream at key `i` for reading, or nil. Counts as an access. Errors: wrongType, unreadable.
    public func stream(_ i: Int) throws(CommandError) -> Stream? {
        guard case .structure(let structure) = try stored(i, .stream) else { return nil }
        return unsafeDowncast(structure.held, to: Stream.self)
    }

    /// The stream at key `i`, which must exist, for changing.
    public func editStream(_ i: Int) throws(CommandError) -> Stream {
        unsafeDowncast(try beginStructureChange(i).held, to: Stream.self)
    }

    /// Makes an empty stream at key `i`, which must be absent.
    public func makeStream(_ i: Int) -> Stream {
        let stream = Stream(makeHeap())
        putStructure(i, .stream, stream)
        return stream
    }
}
