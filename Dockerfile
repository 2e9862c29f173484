# The page as a container: docker build -t vehicle_nb . && docker run -p 7860:7860 vehicle_nb
# Put a trained bundle into models/ first; without one the page offers to train the demo model.
FROM python:3.12-slim

# A user of its own: the page needs no rights at all.
RUN useradd --create-home --uid 1000 page
WORKDIR /srv/page

# The small CPU build of torch; without this line pip fetches the large CUDA one.
RUN pip install --no-cache-dir "torch>=2.11,<2.16" "torchvision>=0.26,<0.30" --index-url https://download.pytorch.org/whl/cpu

COPY --chown=page . .
RUN pip install --no-cache-dir "/srv/page[app]" && mkdir -p models data && chown page . models data

USER 1000
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:7860/_stcore/health')"]
CMD ["vehicle_app", "--port=7860", "--address=0.0.0.0", "--server.headless=true"]
