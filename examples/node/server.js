// A server without any package. Trilith gives it HOST and PORT, keeps it running, balances its
// instances and does what belongs before an application: static files, compression, limits, logs.
const http = require('node:http');

let seen = 0;

const server = http.createServer((request, response) => {
  if (request.url === '/healthz')
    return response.end('ok\n');
  seen++;
  let bytes = 0;
  request.on('data', (piece) => { bytes += piece.length; });
  request.on('end', () => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({
      method: request.method,
      url: request.url,
      bytes,
      seen,
      pid: process.pid,
      client: request.headers['x-forwarded-for'],
      host: request.headers.host,
      request: request.headers['x-request-id'],
    }) + '\n');
  });
});

server.listen(process.env.PORT, process.env.HOST);

// A reload or stop: finish what is being answered, then end.
process.on('SIGTERM', () => server.close(() => process.exit(0)));
