import Primitives
import RESPWire
import Testing

@testable import RESPFront

/// Proves the connection family's replies, in RESP2 and RESP3. Method: transcripts; replies are
/// those of redis-server 7.0.15, client ids aside.
struct ConnectionCommandsTests {
    private static let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    private static let noAuth = "-NOAUTH Authentication required.\r\n"

    private func greeting(_ version: Int, _ id: Int64) -> String {
        (version == 3 ? "%7\r\n" : "*14\r\n") + """
            $6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:\(version)\r\n\
            $2\r\nid\r\n:\(id)\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
            $7\r\nmodules\r\n*0\r\n
            """
    }

    @Test func helloChoosesTheVersion() throws {
        let client = try AdminServer().connect()
        let id = client.session.id
        #expect(client.raw("HELLO") == greeting(2, id))
        #expect(client.raw("HELLO", "3", "SETNAME", "me") == greeting(3, id))
        #expect(client.raw("CLIENT", "GETNAME") == "$2\r\nme\r\n")
        #expect(client.raw("CLIENT", "TRACKINGINFO") == "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n"
            + "$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n")
        #expect(client.raw("HELLO", "4") == "-NOPROTO unsupported protocol version\r\n")
        #expect(
            client.raw("HELLO", "x")
                == "-ERR Protocol version is not an integer or out of range\r\n")
        #expect(client.raw("HELLO", "3", "foo") == "-ERR Syntax error in HELLO option 'foo'\r\n")
        #expect(client.raw("HELLO", "3", "auth", "default")
            == "-ERR Syntax error in HELLO option 'auth'\r\n")
        #expect(client.raw("HELLO", "2", "AUTH", "default", "any") == greeting(2, id))
        #expect(client.raw("RESET") == "+RESET\r\n")
        #expect(client.raw("CLIENT", "GETNAME") == "$-1\r\n")
    }

    @Test func authWithAPassword() throws {
        let server = try AdminServer(["--requirepass", "foo"])
        let client = server.connect()
        #expect(client.raw("PING") == Self.noAuth)
        #expect(
            client.raw("HELLO", "3").hasPrefix(
                "-NOAUTH HELLO must be called with the client already"))
        #expect(client.raw("HELLO", "2", "AUTH", "default", "bar") == Self.wrong)
        #expect(client.raw("AUTH", "bar") == Self.wrong)
        #expect(client.raw("AUTH", "fooo") == Self.wrong)
        #expect(client.raw("AUTH", "") == Self.wrong)
        #expect(client.raw("AUTH", "other", "foo") == Self.wrong)
        #expect(client.raw("AUTH", "a", "b", "c") == "-ERR syntax error\r\n")
        #expect(!client.mayBeLarge)
        #expect(client.raw("AUTH", "default", "foo") == "+OK\r\n")
        #expect(client.mayBeLarge)
        #expect(client.raw("PING") == "+PONG\r\n")
        #expect(client.raw("RESET") == "+RESET\r\n")
        #expect(client.raw("PING") == Self.noAuth)
        #expect(!client.mayBeLarge)
        #expect(
            client.raw("HELLO", "3", "AUTH", "default", "foo") == greeting(3, client.session.id))
        #expect(client.raw("ACL", "WHOAMI") == "$7\r\ndefault\r\n")
        let stranger = server.connect()
        _ = client.raw("CONFIG", "SET", "requirepass", "")
        #expect(stranger.raw("PING") == "+PONG\r\n")
    }

    @Test func authWithoutAPassword() throws {
        let client = try AdminServer().connect()
        #expect(client.raw("AUTH", "x") == """
            -ERR AUTH <password> called without any password configured for the default user. \
            Are you sure your configuration is correct?\r\n
            """)
        #expect(client.raw("AUTH", "default", "x") == "+OK\r\n")
        #expect(client.raw("AUTH", "foo", "x") == Self.wrong)
    }

    @Test func smallCommands() throws {
        let client = try AdminServer().connect()
        #expect(client.raw("PING", "a") == "$1\r\na\r\n")
        #expect(
            client.raw("PING", "a", "b") == "-ERR wrong number of arguments for 'ping' command\r\n")
        #expect(client.raw("ECHO", "x y") == "$3\r\nx y\r\n")
        #expect(client.raw("SELECT", "x") == "-ERR value is not an integer or out of range\r\n")
        #expect(client.raw("SELECT", "16") == "-ERR DB index is out of range\r\n")
        #expect(client.raw("SELECT", "-1") == "-ERR DB index is out of range\r\n")
        #expect(client.raw("SELECT", "15") == "+OK\r\n")
        #expect(client.session.database == 15)
        #expect(client.raw("RESET") == "+RESET\r\n")
        #expect(client.session.database == 0)
        #expect(client.raw("QUIT") == "+OK\r\n")
        #expect(client.session.closesAfterReply)
        #expect(client.raw("PING") == "")
    }

    @Test func clientReply() throws {
        let client = try AdminServer().connect()
        #expect(client.raw("CLIENT", "REPLY", "SKIP") == "")
        #expect(client.raw("PING") == "")
        #expect(client.raw("PING") == "+PONG\r\n")
        #expect(client.raw("CLIENT", "REPLY", "OFF") == "")
        #expect(client.raw("PING") == "")
        #expect(client.raw("FOO") == "")
        #expect(client.raw("CLIENT", "REPLY", "ON") == "+OK\r\n")
        #expect(client.raw("PING") == "+PONG\r\n")
        #expect(client.raw("CLIENT", "REPLY", "foo") == "-ERR syntax error\r\n")
    }

    @Test func clientListHasRedissFields() throws {
        let server = try AdminServer(loops: 2)
        let a = server.connect(loop: 1), b = server.connect(from: "127.0.0.1:5001")
        _ = a.raw("CLIENT", "SETNAME", "first")
        _ = a.raw("SELECT", "3")
        let lines = try b.text("CLIENT", "LIST").split(separator: "\n").map(String.init)
        let names = """
            id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem \
            multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp
            """.split(separator: " ").map(String.init)
        #expect(lines.count == 2)
        for line in lines {
            #expect(line.split(separator: " ").map { String($0.split(separator: "=")[0]) } == names)
        }
        #expect(lines[0].hasPrefix(
            "id=\(a.session.id) addr=127.0.0.1:5000 laddr=127.0.0.1:6379 fd=8 name=first age=0"))
        #expect(lines[0].contains(" flags=N db=3 "))
        #expect(lines[0].contains(" cmd=select user=default redir=-1 resp=2"))
        #expect(lines[1].contains(" cmd=client|list "))
        #expect(try b.text("CLIENT", "INFO").hasPrefix("id=\(b.session.id) "))
        #expect(
            try b.text("CLIENT", "LIST", "ID", "\(a.session.id)", "999").hasPrefix(
                "id=\(a.session.id) "))
        #expect(try b.text("CLIENT", "LIST", "TYPE", "pubsub") == "")
        #expect(b.raw("CLIENT", "LIST", "TYPE", "x") == "-ERR Unknown client type 'x'\r\n")
        #expect(b.raw("CLIENT", "LIST", "ID", "x") == "-ERR Invalid client ID\r\n")
        #expect(b.raw("CLIENT", "LIST", "foo") == "-ERR syntax error\r\n")
        _ = b.raw("CLIENT", "SETINFO", "LIB-NAME", "lib")
        #expect(try b.text("CLIENT", "INFO").hasSuffix(" lib-name=lib lib-ver=\n"))
    }

    @Test func clientKill() throws {
        let server = try AdminServer(loops: 2)
        let a = server.connect(loop: 1), b = server.connect(from: "127.0.0.1:5001")
        #expect(b.raw("CLIENT", "KILL", "foo") == "-ERR No such client\r\n")
        #expect(b.raw("CLIENT", "KILL", "ID", "x") == "-ERR client-id should be greater than 0\r\n")
        #expect(b.raw("CLIENT", "KILL", "foo", "bar") == "-ERR syntax error\r\n")
        #expect(b.raw("CLIENT", "KILL", "ADDR", "1:2", "LADDR") == "-ERR syntax error\r\n")
        #expect(b.raw("CLIENT", "KILL", "TYPE", "x") == "-ERR Unknown client type 'x'\r\n")
        #expect(b.raw("CLIENT", "KILL", "USER", "foo") == "-ERR No such user 'foo'\r\n")
        #expect(b.raw("CLIENT", "KILL", "SKIPME", "maybe") == "-ERR syntax error\r\n")
        #expect(b.raw("CLIENT", "KILL", "ID", "999") == ":0\r\n")
        #expect(!a.session.isKilled && server.wakes == 0)
        #expect(b.raw("CLIENT", "KILL", "TYPE", "normal") == ":1\r\n")
        #expect(a.session.isKilled && server.wakes == 1)
        #expect(b.raw("CLIENT", "KILL", "127.0.0.1:5001") == "+OK\r\n")
        #expect(b.session.closesAfterReply && !b.session.isKilled)
    }

    @Test func clientPause() throws {
        let server = try AdminServer()
        let a = server.connect(), b = server.connect()
        #expect(
            b.raw("CLIENT", "PAUSE", "x") == "-ERR timeout is not an integer or out of range\r\n")
        #expect(b.raw("CLIENT", "PAUSE", "-1") == "-ERR timeout is negative\r\n")
        #expect(
            b.raw("CLIENT", "PAUSE", "1", "foo")
                == "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n")
        #expect(b.raw("CLIENT", "PAUSE", "100", "WRITE") == "+OK\r\n")
        #expect(a.raw("PING") == "+PONG\r\n")
        #expect(b.raw("CLIENT", "PAUSE", "50", "ALL") == "+OK\r\n")
        #expect(server.state.pauseEnd == 1_700_000_000_100)
        #expect(a.raw("PING") == "")
        #expect(b.raw("CLIENT", "UNPAUSE") == "+OK\r\n")
        a.front.unpause()
        #expect(a.session.output.view.text == "+PONG\r\n")
    }

    @Test func names() throws {
        let client = try AdminServer().connect()
        #expect(client.raw("CLIENT", "SETNAME", "a b") == """
            -ERR Client names cannot contain spaces, newlines or special characters.\r\n
            """)
        #expect(client.raw("CLIENT", "SETINFO", "lib-ver", "a b") == """
            -ERR lib-ver cannot contain spaces, newlines or special characters.\r\n
            """)
        #expect(client.raw("CLIENT", "SETINFO", "x", "y") == "-ERR Unrecognized option 'x'\r\n")
        #expect(client.raw("CLIENT", "NO-EVICT", "x") == "-ERR syntax error\r\n")
        #expect(client.raw("CLIENT", "NO-TOUCH", "ON") == "+OK\r\n")
        #expect(client.session.noTouch)
        #expect(
            client.raw("CLIENT", "NOPE") == "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n")
        #expect(client.raw("CLIENT", "GETREDIR") == ":-1\r\n")
        #expect(client.raw("CLIENT", "ID") == ":\(client.session.id)\r\n")
    }
}
