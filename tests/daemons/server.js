// A server for Node.js that finishes what it has on SIGTERM, which ends it at once by default. The test sets SLOW_S.
let finishes = false;
const server = require('http').createServer((request, response) => {
  const answer = () => {
    // Otherwise a client that goes on asking would keep its connection.
    if (finishes) response.setHeader('Connection', 'close');
    response.end('ok\n');
  };
  setTimeout(answer, request.url === '/slow' ? process.env.SLOW_S * 1000 : 0);
});
server.keepAliveTimeout = 600000;
server.listen({ fd: 3 });
process.on('SIGTERM', () => {
  finishes = true;
  server.close();
});
